import inspect
import pickle
import re
from datetime import UTC, datetime

import pytest

from umbel import exceptions
from umbel.exceptions import (
    CeleryError,
    CeleryWarning,
    MaxRetriesExceededError,
    NotRegistered,
    Reject,
    RemoteError,
    Retry,
    RetryTaskError,
    UmbelError,
    UmbelWarning,
)

CLASSES: dict[str, type[Exception]] = {
    name: found
    for name, found in vars(exceptions).items()
    if inspect.isclass(found)
    and issubclass(found, Exception)
    and found.__module__ == exceptions.__name__
    and found.__name__ == name
}


def drawing() -> dict[str, str]:
    """Return each class in the drawing of the docstring, with the name of the class above it."""
    parents: dict[str, str] = {}
    above: dict[int, str] = {}
    root = ""
    for line in (exceptions.__doc__ or "").splitlines():
        if line == f"    {line.strip()}" and line.strip().isidentifier():
            root = line.strip()
        branch = re.match(r"([ │]*)[├└]── (\w+)", line)
        if branch:
            depth, name = len(branch[1]), branch[2]
            above[depth] = name
            parents[name] = above.get(depth - 4, root)
    return parents


def test_the_drawing_shows_the_classes_as_they_are() -> None:
    drawn = drawing()
    assert drawn.keys() == CLASSES.keys()
    bases = {name: found.__bases__[0].__name__ for name, found in CLASSES.items()}
    assert drawn == bases


def test_the_drawing_says_what_comes_in_beside_the_tree() -> None:
    beside = {name for name, found in CLASSES.items() if len(found.__bases__) > 1}
    assert beside == {"ModuleMissing", "NotRegistered", "QueueNotFound", "TimeoutError"}
    assert issubclass(NotRegistered, KeyError)
    assert issubclass(exceptions.TimeoutError, TimeoutError)


def test_old_names_are_the_same_classes() -> None:
    assert CeleryError is UmbelError
    assert CeleryWarning is UmbelWarning
    assert RetryTaskError is Retry


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_class_says_what_it_means_and_survives_pickling(name: str) -> None:
    found = CLASSES[name]
    assert found.__doc__
    again = pickle.loads(pickle.dumps(found("text")))  # noqa: S301 - made in the same line
    assert type(again) is found
    assert again.args == found("text").args
    assert str(again) == str(found("text"))


def test_not_registered_reads_as_written() -> None:
    assert str(NotRegistered("There is no task 'proj.add'.")) == "There is no task 'proj.add'."
    assert str(NotRegistered()) == ""


def test_max_retries_keeps_the_arguments_of_the_task() -> None:
    error = MaxRetriesExceededError("too often", task_args=(1,), task_kwargs={"a": 2})
    assert (str(error), error.task_args, error.task_kwargs) == ("too often", (1,), {"a": 2})
    assert MaxRetriesExceededError().task_kwargs == {}


def test_max_retries_refuses_other_keywords() -> None:
    with pytest.raises(TypeError, match="tries"):
        MaxRetriesExceededError("too often", tries=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RemoteError("payments.CardDeclined", "no funds"), "payments.CardDeclined: no funds"),
        (RemoteError("payments.CardDeclined", 402, "no"), "payments.CardDeclined: 402, no"),
        (RemoteError("payments.CardDeclined"), "payments.CardDeclined"),
        (Retry(), "Retry at None"),
        (Retry(when=10), "Retry in 10s"),
        (Retry(when=0.5, exc=ValueError("v")), "Retry in 0.5s: ValueError('v')"),
        (
            Retry(when=datetime(2050, 1, 1, 12, tzinfo=UTC)),
            "Retry at 2050-01-01 12:00:00+00:00",
        ),
        (Retry("later", ValueError("v"), 10), "later"),
    ],
)
def test_texts(error: Exception, text: str) -> None:
    assert str(error) == text


def test_retry_keeps_what_it_was_given() -> None:
    cause = ValueError("v")
    retry = Retry("later", cause, 10, True, "signature")
    assert (retry.message, retry.exc, retry.when) == ("later", cause, 10)
    assert (retry.is_eager, retry.sig) == (True, "signature")
    assert Retry().is_eager is False


def test_reject_is_final_unless_told_otherwise() -> None:
    assert (Reject().reason, Reject().requeue) == (None, False)
    assert (Reject("why", requeue=True).reason, Reject("why", True).requeue) == ("why", True)
