"""Words of messages, and the figures of tables."""

import pytest

from common.errors import LONGEST_MESSAGE
from common.text_table import aligned, percent
from common.words import LONGEST_LIST, NAMED, nearest, some, some_of_each


def test_nearest():
    assert nearest("widht", ["height", "width"]) == "did you mean width? "
    assert nearest("aab", ["aaa", "aac", "x"], most=2) == "did you mean aac or aaa? "
    assert nearest("q", ["height"]) == ""


def test_some():
    assert some([1, 2, 3], 3) == "1, 2, 3"
    assert some((name for name in "abcde"), 2) == "a, b and 3 more"
    assert some([]) == ""
    assert some(range(NAMED), NAMED, total=50_000, separator="; ").endswith("; 19 and 49980 more")
    assert some(["a\x1b[31m", "x" * 100_000]).startswith("a\\x1b[31m, xxx")
    assert len(some(["x" * 100_000] * 1000, NAMED)) < LONGEST_LIST + 20
    assert some(["a" * 60] * 20, NAMED).endswith(" and 11 more")
    assert some(["a\nb"]) == "a\\nb"


def test_some_of_each():
    assert some_of_each({"missing": ["a", "b"], "extra": [], "wrong": [1]}) == "2 missing: a, b; 1 wrong: 1"
    assert some_of_each({"missing": []}) == ""
    many = [f"{'x' * 1000}{i}" for i in range(1000)]
    assert len(some_of_each({"missing": many, "extra": many, "wrong": many})) < LONGEST_MESSAGE


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (0, "0.00"),
        (0.12345, "12.35"),
        (1, "100.00"),
        (0.99986, "99.99"),
        (0.999999999, "99.99"),
    ],
)
def test_percent(share, text):
    assert percent(share) == text


def test_columns_to_the_left():
    assert aligned(("a", "bb", "c"), [("1", "2", "333")], left=(1,)) == "a  bb    c\n1  2   333"
