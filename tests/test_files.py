"""Text, JSON and YAML as people and their programs write them, and how much of it a message quotes."""

import json
import time

import pytest

from common.errors import UserError, brief, printable
from common.files import LARGEST_YAML, YamlOfText, likely_encoding, read_json, read_text, read_yaml

WORDS = "été, Äpfel, 苹果\nniño\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_by_its_mark(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(WORDS.replace("\n", "\r\n").encode(encoding))
    assert read_text(path) == WORDS
    path.write_bytes(json.dumps({"label": WORDS}, ensure_ascii=False).encode(encoding))
    assert read_json(path) == {"label": WORDS}
    path.write_bytes("名: [苹果, 梨]".encode(encoding))
    assert read_yaml(path) == {"名": ["苹果", "梨"]}


def test_big_endian(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xfe\xff" + WORDS.encode("utf-16-be"))
    assert read_text(tmp_path / "a.txt") == WORDS


@pytest.mark.parametrize("codec, text, name", [
    ("gb2312", '{"label": "苹果", "imagePath": "图片.jpg"}', "GBK"),
    ("gbk", "照片/朱镕基.jpg", "GBK"),
    ("shift_jis", "写真/りんご.jpg", "SHIFT_JIS"),
    ("cp1252", "photos/été.jpg\nÄpfel", "WINDOWS-1252"),
    ("utf-16-le", "p0.jpg\r\nété.jpg", "UTF-16LE"),
    ("utf-16-be", "p0.jpg\r\nété.jpg", "UTF-16BE"),
])  # fmt: skip
def test_other_encodings_are_named(tmp_path, codec, text, name):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode(codec))
    assert likely_encoding(path.read_bytes()) == name
    with pytest.raises(UserError, match=rf"a\.json: is not readable JSON \(it is not UTF-8, but likely {name}\); save"):
        read_json(path)


def test_a_mark_that_does_not_hold(tmp_path):
    (tmp_path / "a.txt").write_bytes("apple".encode("utf-16") + b"x")
    with pytest.raises(UserError, match=r"a\.txt: cannot be read as text \(it begins as UTF-16-LE, which byte 12 is"):
        read_text(tmp_path / "a.txt")


def test_advice_never_destroys(tmp_path):
    for content in (b"{", b"[" * 100_000, b"1" * 5000, b"\xff"):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(UserError, match="is not readable JSON") as error:
            read_json(tmp_path / "a.json")
        assert "delete" not in str(error.value)
        assert "sys." not in str(error.value)
        assert len(str(error.value)) < 500
    assert read_json(tmp_path / "none.json") is None


def test_reasons_are_of_plain_words(tmp_path):
    """Python's own advise a setting of Python."""
    number, deep = "it holds a number of more than 4,300 digits", "it is nested too deeply"
    for content, reason in (("1" * 5000, number), ("[" * 100_000, deep)):
        (tmp_path / "a.json").write_text(content)
        (tmp_path / "a.yaml").write_text(content[:50_000])
        for read, name in ((read_json, "a.json"), (read_yaml, "a.yaml")):
            with pytest.raises(UserError, match=rf"{name}: .*\({reason}\)"):
                read(tmp_path / name)


def test_aliases_of_yaml_are_refused(tmp_path):
    """Seven lines of aliases stand for ten million texts, which a message would write out."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join(['*' + old] * 10)}]" for old, new in zip("abcdef", "bcdefg", strict=True)]
    (tmp_path / "a.yaml").write_text("\n".join(lines))
    for loader in (YamlOfText,):
        with pytest.raises(UserError, match=r"a\.yaml: line 2: cannot be read as YAML \(it has an alias, \*name"):
            read_yaml(tmp_path / "a.yaml", loader)


def test_yaml_of_any_size_is_answered_at_once(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: [" + "x, " * 1_000_000 + "]")
    start = time.monotonic()
    with pytest.raises(UserError, match=r"a\.yaml: cannot be read as YAML \(it has 3,000,005 characters, more than"):
        read_yaml(path)
    path.write_text("a: [" + "x, " * (LARGEST_YAML // 3 - 2) + "]")
    assert len(read_yaml(path, YamlOfText)["a"]) > 80_000
    assert time.monotonic() - start < 60


def test_a_value_in_a_message():
    assert brief("apple") == "apple"
    assert brief(["a", 1]) == "['a', 1]"
    assert len(brief("x" * 10_000_000)) == len(brief([["x" * 1000] * 1000] * 1000, 200)) == 200
    nested = "x"
    for _ in range(40):
        nested = [nested] * 10  # 10^40 texts
    assert len(brief(nested)) <= 200
    assert brief("a\x1b[31m\n\u202eb") == "a\\x1b[31m\\n\\u202eb"
    assert printable("one\ntwo\x07", 100) == "one\ntwo\\x07"
    assert len(printable("x" * 500, 100)) == 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- table: &a x\n  rows: [*a, *a]\n", "line 2: .*alias"),
        ("# " + "x" * LARGEST_YAML, "characters, more than"),
    ],
)
def test_published_numbers_are_read_as_any_other_yaml(tmp_path, text, message):
    from common.results.published import read_published

    (tmp_path / "published.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"published\.yaml: .*{message}|published\.yaml: {message}"):
        read_published(tmp_path / "published.yaml")
