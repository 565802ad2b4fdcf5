"""Tables that names from people's files cannot break."""

import re

import pytest

from common.console import say
from common.text_table import aligned, escaped, markdown


@pytest.mark.parametrize("name", [
    "fruit | batch <b>2</b>", "a|b|c", "tick ` and | bar", "two\nlines", "colour \x1b[31m", "\\|", "<img src=x>",
    "`code | with <b>`",
])  # fmt: skip
def test_every_row_has_as_many_cells_as_the_head(name):
    text = markdown(["name", "link", "mark"], [[name, "[a1](runs/a1.json)", "`sample`"]])
    rows = text.splitlines()
    assert len(rows) == 3
    assert [len(re.split(r"(?<!\\)\|", row)) - 2 for row in rows] == [3, 3, 3]
    outside_code = re.sub(r"`[^`]*`", "", rows[2])
    assert not re.search(r"(?<!\\)<", outside_code)
    assert "\x1b" not in text
    assert "[a1](runs/a1.json) | `sample` |" in rows[2]


def test_plain_cells_stay_as_they_are():
    assert markdown(["a", "b"], [["xception_65", "64.24"]], numbers=True) == (
        "| a | b |\n| --- | ---: |\n| xception_65 | 64.24 |"
    )


def test_a_name_letter_by_letter():
    assert escaped("a_b `c` [d](e) <f>") == r"a\_b \`c\` \[d\](e) \<f\>"
    assert escaped("", "|") == ""
    assert escaped(r"a\|b", "|") == r"a\|b"


def test_names_of_files_do_not_steer_a_terminal(capsys):
    table = aligned(["name", "pixels"], [["red \x1b[31m", "1"], ["two\nlines", "2"], ["\u202eback", "3"]])
    assert len(table.splitlines()) == 4
    assert table.replace("\n", "").isprintable()
    say("made \x1b[2J of layer\x07")
    assert capsys.readouterr().err == "made \\x1b[2J of layer\\x07\n"
