from __future__ import annotations

import pytest

from umbel.colors import colored


def test_texts_in_texts() -> None:
    c = colored()
    text = c.red("so ", c.bold("very"), " red")
    assert str(text) == "\x1b[1;31mso \x1b[1mvery\x1b[0m\x1b[1;31m red\x1b[0m"
    assert text.no_color() == "so very red"
    assert repr(text) == "'so very red'"
    assert c.iblue("x") + "y" == "\x1b[1;44mx\x1b[0my"


def test_without_colours() -> None:
    c = colored(enabled=False)
    assert str(c.red("so ", c.underline("very"), 1)) == "so very1"
    assert c.cyan("a").embed() == "a"
    assert str(c.reset("")) == ""


def test_there_are_eight_colours() -> None:
    assert set(colored().names) == {
        *("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"),
    }
    with pytest.raises(AttributeError, match="no colour or style 'pink'"):
        _ = colored().pink
