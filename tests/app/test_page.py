"""The page by Streamlit's own test driver, and in a browser: tests that `make app`'s requirements must be there for."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from common.app.__main__ import SCRIPT, main
from common.data import sample
from tests.app.conftest import EXPORTED, FETCHED, RUN
from tests.conftest import ROOT
from tests.helpers import browser
from tests.helpers.ports import free_addresses

PICTURE = sample.draw(3)[0]
SECONDS = 60


@pytest.fixture
def page(world, monkeypatch):
    testing = pytest.importorskip("streamlit.testing.v1", reason="make app installs Streamlit")
    monkeypatch.chdir(world)
    return testing.AppTest.from_file(str(SCRIPT), default_timeout=SECONDS).run()


def segment(page):
    page.button[0].click().run()
    assert not page.exception
    return page


def facts(page):
    """The captions with seconds, one for each model."""
    return [one.value for one in page.caption if "seconds" in one.value]


def text_of(elements):
    return " ".join(one.value.replace("\\", "") for one in elements)


def choose(page, label, value):
    next(one for one in page.selectbox if one.label == label).set_value(value).run()


def test_an_example_is_segmented(page):
    assert page.selectbox[0].options == [FETCHED, RUN, EXPORTED]
    assert not facts(page)
    segment(page)
    assert len(facts(page)) == 1
    assert "TensorFlow runs the network" in facts(page)[0]
    assert text_of(page.error) == ""


def test_the_last_answer_stays_and_says_so(page):
    segment(page)
    page.radio[0].set_value("drawn7.png").run()
    assert any("what was asked before" in one.value for one in page.caption)
    segment(page)
    assert not any("what was asked before" in one.value for one in page.caption)


def test_two_models_side_by_side(page):
    page.toggle[0].set_value(True).run()
    choose(page, "Second model", EXPORTED)
    segment(page)
    assert [FETCHED in text_of(page.markdown), EXPORTED in text_of(page.markdown)] == [True, True]
    assert len(facts(page)) == 2
    assert {one.label for one in page.slider} >= {"Where the second model begins"}


def test_the_settings_reach_the_network(page):
    choose(page, "Output stride", "16")
    page.multiselect[0].set_value([1.0, 0.5]).run()
    choose(page, "Engine", "ONNX Runtime")
    segment(page)
    assert text_of(page.error) == ""
    assert "ONNX Runtime" in facts(page)[0]


def test_classes_are_kept(page):
    segment(page)
    keep = next(one for one in page.multiselect if one.label == "Keep only")
    assert len(keep.options) > 1
    keep.set_value(keep.options[:1]).run()
    assert not page.exception
    assert len(facts(page)) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"nothing", "my_*photo*.png: cannot be read as a picture"), (b"", "my_*photo*.png: cannot be read as a picture")],
)
def test_a_bad_picture_is_a_sentence_as_it_stands(page, data, message):
    page.file_uploader[0].upload("my_*photo*.png", data, "image/png").run()
    assert message in text_of(page.error)
    assert "\\*photo\\*" in page.error[0].value  # no Markdown of a file's name
    assert page.button[0].disabled


def test_weights_that_do_not_fit_are_a_sentence(page, world):
    path = world / "weights/max_image_segmenter/model.ckpt.data-00000-of-00001"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:1000])
        os.utime(path, (1, 1))
        choose(page, "Output stride", "32")
        segment(page)
    finally:
        path.write_bytes(whole)
    assert "model.ckpt" in text_of(page.error)
    assert "Traceback" not in text_of(page.error)
    assert not facts(page)


def test_an_unforeseen_error_is_a_sentence(page, monkeypatch):
    monkeypatch.setattr("common.app.page._opened", lambda *_: 1 / 0)
    segment(page)
    assert text_of(page.error) == "unforeseen ZeroDivisionError: division by zero"


def test_without_weights_it_says_how_to_get_some(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    page.run()
    assert "make demo" in page.info[0].value
    assert not page.button


def test_without_streamlit_and_on_a_taken_port_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([]) == 2
    assert "`make app` installs it" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    assert f"--port {port}: cannot be listened on" in capsys.readouterr().err


@contextlib.contextmanager
def served(world):
    """The page's address, served by a process of its own, and what that wrote at the end."""
    address = free_addresses(1)[0]
    command = [sys.executable, "-m", "common.app", "--port", address.partition(":")[2]]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=world, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    written = io.StringIO()
    try:
        end = time.monotonic() + SECONDS
        while not listens(address):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < end
            time.sleep(0.1)
        yield f"http://{address}", written
    finally:
        process.send_signal(signal.SIGINT)
        written.write(process.communicate(timeout=30)[0])


def listens(address):
    host, _, port = address.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False


BUTTON = "[...document.querySelectorAll('button')].find((one) => one.innerText.trim().endsWith('{}'))"


def click(page, text):
    page.wait_for(f"{BUTTON.format(text)}?.disabled === false", SECONDS)
    page.run(BUTTON.format(text) + ".click()")


def shows(page, text):
    page.wait_for(f"document.body.innerText.includes({text!r})", SECONDS)


def select(page, label, value):
    """Choose in a list as a person does: open it, and click on the words."""
    page.run(f"""[...document.querySelectorAll("[data-testid=stSelectbox]")]
        .find((one) => one.innerText.startsWith("{label}")).querySelector("input").focus()""")
    page.press("ArrowDown")
    option = f"[...document.querySelectorAll('[role=option]')].find((one) => one.innerText.trim() === '{value}')"
    page.wait_for(option)
    page.run(option + ".click()")


def test_in_a_browser(world, tmp_path):
    """A picture is sent, segmented, by another model too, a bad one refused; two people ask at once."""
    pytest.importorskip("streamlit", reason="make app installs Streamlit")
    if not browser.executable():
        pytest.skip("no chromium on this machine; on Debian: apt-get install chromium")
    Image.fromarray(PICTURE).save(tmp_path / "mine.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with served(world) as (address, written):
        with browser.chromium() as first, browser.chromium() as second:
            for page in (first, second):
                page.look(1400, "light")
                page.open(address)
                page.wait_for(BUTTON.format("Segment"), SECONDS)
            first.choose_file("input[type=file]", tmp_path / "mine.png")
            shows(first, "mine.png")
            for page in (first, second):  # both run the same network
                click(page, "Segment")
            for page in (first, second):
                shows(page, "seconds. TensorFlow runs the network")
                page.wait_for("document.querySelectorAll('.classes span').length > 1")

            first.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "got"))
            for kind in ("Label map", "Cut-out", "Polygons"):
                click(first, kind)
            names = {"mine.png", "mine_cutout.png", "mine.json"}
            wait_until(lambda: names == {path.name for path in (tmp_path / "got").glob("*")})
            assert np.asarray(Image.open(tmp_path / "got/mine.png")).shape == PICTURE.shape[:2]
            assert Image.open(tmp_path / "got/mine_cutout.png").mode == "RGBA"

            select(first, "Model", EXPORTED)
            shows(first, "what was asked before")
            click(first, "Segment")
            shows(first, "model.pb runs as it is")

            second.choose_file("input[type=file]", tmp_path / "bad.png")
            shows(second, "bad.png: cannot be read as a picture")
            for width in (1400, 400):
                first.look(width, "light")
                wide = "document.querySelector('.stMain')"
                assert first.run(f"{wide}.scrollWidth - {wide}.clientWidth") == 0
            for page in (first, second):
                assert page.problems == []
                assert [url for url in page.requests if not url.startswith((address, "data:", "blob:"))] == []
        with pytest.raises(OSError):  # on this machine alone
            socket.create_connection(("127.0.0.2", int(address.rpartition(":")[2])), 2)
    assert "Traceback" not in written.getvalue()
    assert written.getvalue().startswith(f"{address} is the page")


def wait_until(holds):
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)
