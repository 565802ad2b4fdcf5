"""The note that figures carry, in every format; and that committed figures are as new as their records."""

import matplotlib
import numpy as np
import pytest
from PIL import Image

from common.data import figures
from common.data.masks import save_label_png
from common.data.sets.voc import voc_palette

matplotlib.use("Agg")
IDS = ("v1-sample-a_val-0123456789", "v2-x-b-abcdef0123")


@pytest.mark.parametrize("ids", [(), IDS[:1], IDS])
@pytest.mark.parametrize("ending", [".png", ".pdf", ".svg"])
def test_plots_carry_their_records(tmp_path, ending, ids):
    from matplotlib import pyplot

    path = tmp_path / f"plot{ending}"
    figure = pyplot.figure()
    figure.savefig(path, metadata=figures.plot_note(path, ids))
    pyplot.close(figure)
    assert figures.drawn_by_us(path)
    assert figures.records_of(path) == ids


@pytest.mark.parametrize("ids", [(), IDS])
def test_pictures_carry_their_records(tmp_path, ids):
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=figures.png_note(ids))
    Image.fromarray(pixels).save(tmp_path / "a.jpg", comment=figures.note(ids))
    save_label_png(tmp_path / "label.png", pixels[..., 0], voc_palette(256))
    assert not figures.drawn_by_us(tmp_path / "label.png")
    figures.add_png_note(tmp_path / "label.png", ids)
    for name in ("a.png", "a.jpg", "label.png"):
        assert figures.drawn_by_us(tmp_path / name)
        assert figures.records_of(tmp_path / name) == ids
    with Image.open(tmp_path / "label.png") as label:
        assert label.mode == "P"
        assert np.array_equal(np.asarray(label), pixels[..., 0])


def test_other_peoples_pictures_have_none(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"\x89PNG broken")
    for name in ("a.png", "b.png", "none.png"):
        assert not figures.drawn_by_us(tmp_path / name)
        assert figures.records_of(tmp_path / name) == ()
