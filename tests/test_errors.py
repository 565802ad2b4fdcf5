"""How messages quote what files and arguments hold."""

import pytest

from common.errors import brief, on_one_line, plain_reason, printable, visible


@pytest.mark.parametrize("text", ["x" * 10_000, "\x07" * 10_000, "\n" * 10_000, "\U000e0001" * 10_000, "a\u202eb"])
def test_what_is_quoted_is_short_and_steers_nothing(text):
    for quoted in (brief(text, 50), printable(text, 50)):
        assert len(quoted) <= 50
        assert quoted.replace("\n", "").isprintable()
    assert "\n" not in brief(text)


def test_what_is_whole_is_escaped_alone():
    assert visible("a\x1b\nb" + "x" * 10_000) == "a\\x1b\nb" + "x" * 10_000
    assert on_one_line("a\x1b\nb") == "a\\x1b\\nb"


def test_reasons_that_only_programmers_understand_are_told_in_other_words():
    with pytest.raises(ValueError, match="set_int_max_str_digits") as error:
        int("9" * 5000)
    assert plain_reason(error.value) == "it holds a number of more than 4,300 digits"
    assert plain_reason(RecursionError("maximum recursion depth exceeded")) == "it is nested too deeply"
    assert plain_reason(ValueError("two\n  lines")) == "two lines"
    assert plain_reason(ValueError()) == "ValueError"
