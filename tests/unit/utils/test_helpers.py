"""Lists, texts, names and imports: what projects take from Celery's utilities."""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from umbel import utils
from umbel.utils import functional, imports, nodenames, serialization, text


def test_lists() -> None:
    assert functional.maybe_list("a") == ["a"]
    assert functional.maybe_list(["a"]) == ["a"]
    assert functional.maybe_list(None) is None
    assert functional.is_list((1,))
    assert not functional.is_list({"a": 1})
    assert list(utils.chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert functional.padlist([1], 3, 0) == [1, 0, 0]
    assert functional.padlist([1, 2, 3], 2) == [1, 2]
    assert list(functional.uniq([2, 1, 2])) == [2, 1]
    assert functional.first(None, [None, 0]) == 0
    assert functional.first(lambda number: number > 5, [1, 2]) is None
    assert functional.dictfilter({"a": None}, b=1, c=None) == {"b": 1}


def test_functions() -> None:
    calls: list[int] = []

    def twice(number: int) -> int:
        calls.append(number)
        return number * 2

    double = utils.memoize(maxsize=2)(twice)

    assert [double(1), double(1), double(2)] == [2, 2, 4]
    assert calls == [1, 2]
    assert utils.noop(1, a=2) is None  # type: ignore[func-returns-value]
    assert functional.pass1(1, 2) == 1
    assert functional.fun_accepts_kwargs(lambda **kw: None)
    assert not functional.fun_accepts_kwargs(lambda a: None)
    late = functional.lazy(lambda a, b: a + b, 1, b=2)
    assert late() == late.evaluate() == functional.maybe_evaluate(late) == 3
    assert functional.maybe_evaluate(4) == 4


def test_retrying_over_time() -> None:
    errors = [ValueError("one"), ValueError("two")]
    seen: list[tuple[str, int]] = []
    called: list[int] = []

    def fails() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    def errback(error: Exception, pauses: Any, tries: int) -> float:
        seen.append((str(error), tries))
        return 0.0001

    found = functional.retry_over_time(
        fails, ValueError, errback=errback, callback=lambda: called.append(1)
    )
    assert found == "done"
    assert seen == [("one", 1), ("two", 2)]
    assert called == [1, 1]


@pytest.mark.parametrize("limits", [{"max_retries": 0}, {"timeout": -1}])
def test_retrying_has_an_end(limits: dict[str, Any]) -> None:
    with pytest.raises(ZeroDivisionError):
        functional.retry_over_time(lambda: 1 / 0, ZeroDivisionError, **limits)


def test_texts() -> None:
    assert text.str_to_list("a,b") == ["a", "b"]
    assert text.str_to_list(["a"]) == ["a"]
    assert text.truncate("one two three", 9) == "one two..."
    assert text.truncate("one", 9) == "one"
    assert text.abbr("abcdefgh", 6) == "abc..."
    assert text.abbr("abcdefgh", 6, False) == "abcdef"
    assert text.abbr("abc", 6) == "abc"
    assert text.abbrtask(None, 6) == "???"
    assert text.abbrtask("proj.tasks.add", 10) == "proj[.]add"
    assert text.abbrtask("add", 10) == "add"
    assert text.indent("a\nb", 2) == "  a\n  b"
    assert text.join(["a", "", None, "b"], ", ") == "a, b"
    assert text.pluralize(1, "task") == "task"
    assert text.pluralize(2, "task") == "tasks"


def test_names_of_nodes() -> None:
    assert utils.nodename("mails", "host") == "mails@host"
    assert utils.nodename(None, "host") == "celery@host"
    assert utils.nodesplit("mails@host") == ("mails", "host")
    assert utils.nodesplit("host") == (None, "host")
    assert nodenames.default_nodename("mails@host") == "mails@host"
    assert nodenames.default_nodename(None) == f"celery@{nodenames.gethostname()}"
    assert nodenames.anon_nodename("host") == f"gen{os.getpid()}@{threading.get_native_id()}@host"


def test_objects_by_their_names() -> None:
    for name in ("collections.OrderedDict", "collections:OrderedDict"):
        assert imports.symbol_by_name(name) is OrderedDict
    assert imports.symbol_by_name("short", {"short": "collections:OrderedDict"}) is OrderedDict
    assert imports.symbol_by_name(OrderedDict) is OrderedDict
    assert imports.symbol_by_name("nothing.at.all", default=1) == 1
    assert imports.symbol_by_name("collections").OrderedDict is OrderedDict
    with pytest.raises(AttributeError):
        imports.symbol_by_name("collections:Nothing")
    assert imports.instantiate("collections:OrderedDict", a=1) == {"a": 1}
    assert utils.get_full_cls_name(OrderedDict) == "collections.OrderedDict"
    assert imports.qualname(OrderedDict()) == "collections.OrderedDict"


def test_modules_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_there.py").write_text("found = True")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert imports.import_from_cwd("only_there").found
    assert sys.path == before
    with imports.cwd_in_path(), imports.cwd_in_path():
        assert str(tmp_path) in sys.path
    del sys.modules["only_there"]


def test_bytes_in_texts_and_words_for_yes_and_no() -> None:
    assert serialization.b64encode(b"ab") == serialization.b64encode("ab") == "YWI="
    assert serialization.b64decode("YWI=") == serialization.b64decode(b"YWI=") == b"ab"
    assert serialization.strtobool("Yes") is True
    assert serialization.strtobool("off") is False
    assert serialization.strtobool("perhaps", {"perhaps": 1}) is True
    for word, table in (("maybe", None), ("maybe", {})):
        with pytest.raises(TypeError, match="maybe"):
            serialization.strtobool(word, table)
