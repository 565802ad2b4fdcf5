"""Folders, patterns and lists as people have them."""

import os

import pytest
from PIL import Image

from common.data import stems
from common.data.folders import files_below, files_in, files_of_pattern, is_file
from common.data.lists import card_by_name, read_split
from common.data.masks import SUFFIXES
from common.errors import UserError
from common.inference.prediction import find_pictures
from tests.helpers.own_data import drawn_set


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names_of(paths, folder):
    return [path.relative_to(folder).as_posix() for path in paths]


def test_what_lies_in_a_folder_beside_pictures(tmp_path):
    touched(tmp_path, "b.JPG", "a.jfif", "c.jpe", "._a.jpg", ".hidden.png", "Thumbs.db", "notes.txt", "below/d.png")
    (tmp_path / "dead.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "folder.png").mkdir()
    assert names_of(files_in(tmp_path, SUFFIXES), tmp_path) == ["a.jfif", "b.JPG", "c.jpe"]
    assert find_pictures([str(tmp_path)]) == files_in(tmp_path, SUFFIXES)
    assert names_of(files_below(tmp_path, SUFFIXES), tmp_path) == ["a.jfif", "b.JPG", "below/d.png", "c.jpe"]


def test_links_are_followed_and_lead_out_of_loops(tmp_path):
    touched(tmp_path, "store/2021/a.jpg", "photos/b.jpg", "store/.trash/c.jpg")
    (tmp_path / "photos/years").symlink_to(tmp_path / "store")
    (tmp_path / "store/up").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/self").symlink_to(".")
    assert names_of(files_below(tmp_path / "photos", SUFFIXES), tmp_path / "photos") == ["b.jpg", "years/2021/a.jpg"]


def test_patterns(tmp_path, monkeypatch):
    touched(tmp_path, "data [2024]/a.jpg", "data [2024]/b.jpg", "data 2/a.jpg", "deep/er/c.jpg", "deep/._c.jpg")
    monkeypatch.chdir(tmp_path)
    for pattern, names in {
        "data [2024]/*.jpg": ["data [2024]/a.jpg", "data [2024]/b.jpg"],
        "data [0-9]/*.jpg": ["data 2/a.jpg"],
        "data [2024]/[b].jpg": ["data [2024]/b.jpg"],
        "deep/**/*.jpg": ["deep/er/c.jpg"],
        "**/c.jpg": ["deep/er/c.jpg"],
        "none/*.jpg": [],
        "": [],
    }.items():
        assert [str(path) for path in files_of_pattern(pattern)] == names
    assert names_of(files_of_pattern(f"{tmp_path}/data [2024]/a*"), tmp_path) == ["data [2024]/a.jpg"]
    for argument in ("none/*.jpg", "x" * 100_000, "a\0b"):
        with pytest.raises(UserError, match="no such file, folder or pattern") as error:
            find_pictures([argument])
        assert len(str(error.value)) < 300


def test_a_name_that_no_file_system_takes(tmp_path):
    assert not is_file(tmp_path / ("x" * 300))
    assert not is_file(tmp_path / "/".join(["x" * 200] * 100))


@pytest.mark.parametrize("line, words", [
    ("a b", ["a", "b"]), ("my photos/a 1.jpg\tmy masks/a 1.png", ["my photos/a 1.jpg", "my masks/a 1.png"]),
    ('"my photos/a.jpg" "my masks/a.png"', ["my photos/a.jpg", "my masks/a.png"]),
    ("'my a.jpg' b.png", ["my a.jpg", "b.png"]), ("it's.jpg it's.png", ["it's.jpg", "it's.png"]), ("a", ["a"]),
    ('"a b"\t"c d"', ["a b", "c d"]), ("a 1.jpg b 1.png", ["a", "1.jpg", "b", "1.png"]),
])  # fmt: skip
def test_words_of_a_line(line, words):
    assert stems.split_line(line) == words


def own_set(folder, *lines):
    path = drawn_set(folder, 3)
    (folder / "train.txt").write_text("".join(f"{line}\n" for line in lines))
    path.write_text(path.read_text() + "splits: {train: train.txt, val: train.txt}\n")
    return card_by_name(str(path)), folder


def test_lists_with_spaces(tmp_path):
    card, folder = own_set(tmp_path / "finds", "photos/a 1.jpg\tmasks/a 1.png")
    for kind, end in (("photos", "jpg"), ("masks", "png")):
        Image.new("L", (8, 6)).save(folder / kind / f"a 1.{end}")
    assert [p.name for p in read_split(card, folder, "train").pairs[0]] == ["a 1.jpg", "a 1.png"]
    (folder / "train.txt").write_text("photos/a 1.jpg masks/a 1.png\n")
    with pytest.raises(UserError, match="names with spaces quoted or with a tab between the two"):
        read_split(card, folder, "train")


def test_a_line_of_megabytes_and_many_that_name_nothing(tmp_path):
    for lines in (["x" * 5_000_000], [" ".join(["x" * 1000] * 2000)], [f"no{i} none{i}" for i in range(5000)]):
        card, folder = own_set(tmp_path / f"finds{len(lines)}{len(lines[0])}", *lines)
        with pytest.raises(UserError, match=r"train\.txt") as error:
            read_split(card, folder, "train")
        assert len(str(error.value)) < 4000


def test_a_name_of_251_bytes(tmp_path):
    name = "ü" * 123 + "a"  # with .jpg 251 bytes
    touched(tmp_path, f"{name}.jpg")
    assert len(os.fsencode(f"{name}.jpg")) == 251
    assert find_pictures([str(tmp_path)]) == [tmp_path / f"{name}.jpg"]
