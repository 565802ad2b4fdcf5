"""Plots with words from people's files."""

import pytest

from common import plots


@pytest.mark.parametrize("words", ["cost $5_{", "\\alpha", "苹果", "🙂 smile", "مرحبا"])
@pytest.mark.filterwarnings("error")
def test_names_stand_as_they_are_and_nothing_warns(tmp_path, words):
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure()
    axes = figure.add_subplot()
    axes.set_title(words)
    axes.set_yticks([0, 1], [words, "$\\frac{$"])
    plots.save_plot(figure, tmp_path / "plot.png", {"Software": "tests"}, dpi=50)
    with Image.open(tmp_path / "plot.png") as image:
        assert image.info["Software"] == "tests"


def test_letters_without_a_font_are_said(tmp_path, monkeypatch, capsys):
    from matplotlib.figure import Figure

    monkeypatch.setattr(plots, "_fonts", lambda: ())
    figure = Figure()
    figure.suptitle("苹果")
    plots.save_plot(figure, tmp_path / "plot.png", {}, dpi=50)
    said = capsys.readouterr().err
    assert f"{tmp_path}/plot.png: no font here has some letters" in said
    assert "Noto Sans CJK or Noto Emoji" in said


def test_control_characters_are_escaped_and_not_said(tmp_path, capsys):
    from matplotlib.figure import Figure

    figure = Figure()
    title = figure.suptitle("a list\x07\x1b[31m\nof two lines")
    figure.add_subplot().set_yticks([0], ["\x07"])
    plots.save_plot(figure, tmp_path / "plot.png", {}, dpi=50)
    assert title.get_text() == "a list\\x07\\x1b[31m\nof two lines"
    assert capsys.readouterr().err == ""


def test_numbers_of_an_axis_keep_their_powers(tmp_path):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.add_subplot()
    axes.set(xscale="log", xlim=(10, 1000))
    axes.set_yticks([0], ["$name$"])
    plots.save_plot(figure, tmp_path / "plot.png", {}, dpi=50)
    labels = [label for label in axes.get_xticklabels() if label.get_text()]
    assert labels
    assert all(label.get_parse_math() for label in labels)
    assert not axes.get_yticklabels()[0].get_parse_math()
