"""`python -m common.data.prepare` in a folder of its own, with small archives on a server of this machine."""

import pytest

from common.data.prepare import __main__ as prepare
from tests.helpers import archive_sets as sets
from tests.helpers.file_server import serving
from tests.helpers.preparing import put_by_hand


@pytest.fixture(scope="session")
def archives():
    return sets.archives()


@pytest.fixture
def server(monkeypatch, archives):
    with serving(monkeypatch) as server:
        server.files = dict(archives)
        yield server


@pytest.fixture
def manifest(server, tmp_path, archives):
    return sets.write_manifest(tmp_path / "manifest.yaml", archives, server.url)


@pytest.fixture
def run(tmp_path, manifest, monkeypatch, capsys, archives):
    """Run the command in `tmp_path`; status, stdout, stderr. Cityscapes' zips lie where a person puts them."""

    def run(*arguments, partial=True):
        try:
            code = prepare.main([*map(str, arguments), "--manifest", str(manifest), *["--allow-partial"] * partial])
        except SystemExit as stop:
            code = stop.code
        out = capsys.readouterr()
        assert "Traceback" not in out.err
        assert "unforeseen" not in out.err
        return code, out.out, out.err

    monkeypatch.chdir(tmp_path)
    put_by_hand(tmp_path, archives)
    return run
