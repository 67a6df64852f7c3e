"""Exceptions of all sorts, stored by every serializer and read again."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest

from umbel import exceptions, states
from umbel.exceptions import RemoteError, TaskRevokedError, remote_error
from umbel.failures import MOST_OF_A_REPR, from_data, to_data
from umbel.records import FixedForm, TaskResult, decode, encode
from umbel.serialization import dumps

NAMES = ("json", "pickle", "yaml", "msgpack")


class Custom(Exception):
    """Its constructor makes a text of what it is given."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")


class Keyword(Exception):
    def __init__(self, *, must: str) -> None:
        super().__init__(must)


class Shown(Exception):
    """Can be shown only after its constructor."""

    def __init__(self, *, code: int) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        return f"{self.code}"


class NoArguments(Exception):
    args = property(lambda self: 1 / 0)


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Long:
    def __repr__(self) -> str:
        return "x" * 10**6


class Locked(Exception):
    """Holds what no pickle takes."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Angry(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        raise RuntimeError("never")


def caused() -> Exception:
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    except ValueError as error:
        return error


@pytest.fixture(params=NAMES)
def form(request: pytest.FixtureRequest) -> FixedForm:
    if request.param in ("yaml", "msgpack"):
        pytest.importorskip(request.param)
    return FixedForm(accept_content=NAMES, result_serializer=request.param)


def again(error: BaseException, form: FixedForm) -> Any:
    return decode(encode(TaskResult("i", states.FAILURE, error), form=form), form).result


@pytest.mark.parametrize(
    "error",
    [
        ValueError("boom"),
        ValueError(1, None, ["a"]),
        KeyError("x"),
        OSError(2, "none such"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        Custom(5),
        Keyword(must="do"),
        Locked("text"),
        Angry("text"),
        caused(),
        TaskRevokedError("revoked"),
        SystemExit(3),
        exceptions.DecodeError("x"),
    ],
    ids=repr,
)
def test_comes_back_as_its_class_with_its_arguments(error: BaseException, form: FixedForm) -> None:
    found = again(error, form)
    assert type(found) is type(error)
    assert found.args == error.args or form.result_serializer in ("yaml", "msgpack")
    assert str(found) == str(error)


def test_arguments_that_cannot_be_written_become_texts(form: FixedForm) -> None:
    lock = threading.Lock()
    found = again(ValueError("a", lock, Unshowable(), Long()), form)
    assert type(found) is ValueError
    assert found.args[:2] == ("a", repr(lock))
    if form.result_serializer != "pickle":
        assert "Unrepresentable" in found.args[2]
        assert len(found.args[3]) == MOST_OF_A_REPR


def test_a_class_that_cannot_be_shown_is_stood_in_for(form: FixedForm) -> None:
    found = again(Shown(code=5), form)
    assert isinstance(found, RemoteError)
    assert (type(found).__name__, type(found).__module__) == ("Shown", __name__)
    assert str(found) == f"{__name__}.Shown: 5"


def test_arguments_that_raise_are_none(form: FixedForm) -> None:
    assert isinstance(again(NoArguments(), form), BaseException)


def test_a_group_has_its_exceptions(form: FixedForm) -> None:
    group = ExceptionGroup(
        "some", [ValueError(1), ExceptionGroup("more", [KeyError("x"), Custom(2)])]
    )
    found = again(group, form)
    assert type(found) is ExceptionGroup
    assert (found.message, repr(found.exceptions[0])) == ("some", "ValueError(1)")
    assert [type(each) for each in found.exceptions[1].exceptions] == [KeyError, Custom]
    alien = BaseExceptionGroup("exit", [SystemExit(1)])
    assert type(again(alien, form)) is BaseExceptionGroup


def test_groups_without_end_are_cut() -> None:
    group: ExceptionGroup[Exception] = ExceptionGroup("g", [ValueError(1)])
    for _ in range(100):
        group = ExceptionGroup("g", [group])
    data = to_data(group, dumps)
    assert len(dumps(data)) < 100_000
    assert isinstance(from_data(data), BaseException)


def test_a_local_class_is_stood_in_for(form: FixedForm) -> None:
    class Local(Exception):
        pass

    found = again(Local("x", 1), form)
    assert isinstance(found, RemoteError)
    assert type(found).__qualname__.endswith("<locals>.Local")
    # What stands in is stored like the original, and can be pickled.
    repeated = again(found, form)
    assert (type(repeated), repeated.args) == (type(found), found.args)
    unpickled = pickle.loads(pickle.dumps(found))  # noqa: S301 - made in the same line
    assert (type(unpickled), unpickled.args) == (type(found), found.args)


@pytest.mark.parametrize(
    ("module", "name"), [("a\0b", "N"), ("a", "N\0"), ("a", "\udc80"), ("", ""), ("a", ".")]
)
def test_any_name_has_a_stand_in(module: str, name: str) -> None:
    assert isinstance(remote_error(module, name, 1), RemoteError)
    assert isinstance(from_data({"exc_type": name, "exc_module": module}), RemoteError)


def test_text_that_no_serializer_takes_is_stored_all_the_same(form: FixedForm) -> None:
    error = ValueError("\udc80", 2**70)
    record = encode(TaskResult("i", states.FAILURE, error, "a traceback \udc80"), form=form)
    found = decode(record, form)
    assert type(found.result) is ValueError
    assert found.traceback is not None


@pytest.mark.parametrize("inner", [None, [], "text", {"a": 1}, 5])
def test_any_wrapper_of_celery_gives_an_exception(inner: object) -> None:
    wrapper = {
        "exc_module": "celery.utils.serialization",
        "exc_type": "UnpickleableExceptionWrapper",
    }
    for message in (inner, ["m"], ["m", "n", inner], ["m", "n", inner, "text"]):
        assert isinstance(from_data({**wrapper, "exc_message": message}), RemoteError)
    nested = ["celery.utils.serialization", "UnpickleableExceptionWrapper"]
    for _ in range(50):
        nested = [nested[0], nested[1], nested]  # type: ignore[list-item]
    assert isinstance(from_data({**wrapper, "exc_message": nested}), RemoteError)
