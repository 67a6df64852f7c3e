"""Tasks with pydantic models; skipped where pydantic is not installed."""

from __future__ import annotations

import sys
from typing import Any, Optional, Union

import pytest

from tests.conftest import only_call
from umbel import Task, Umbel
from umbel.exceptions import EncodeError, ImproperlyConfigured

pydantic = pytest.importorskip("pydantic")
BaseModel: Any = pydantic.BaseModel


class Order(BaseModel):  # type: ignore[misc]
    number: int


class Bill(BaseModel):  # type: ignore[misc]
    text: str


Made = Task[..., Any]


def task_of(app: Umbel, function: Any, **options: Any) -> Made:
    made: Made = app.task(pydantic=True, name="t", **options)(function)
    return made


def kinds(
    order: Order,
    maybe: Optional[Bill] = None,  # noqa: UP045 - the old spelling is the point
    new: Order | None = None,
    either: Union[Order, Bill, None] = None,  # noqa: UP007
    count: int = 3,
) -> list[str]:
    return [type(value).__name__ for value in (order, maybe, new, either, count)]


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        (({"number": 1},), {}, ["Order", "NoneType", "NoneType", "NoneType", "int"]),
        (
            ({"number": 1}, {"text": "a"}),
            {"new": {"number": "2"}, "either": {"text": "b"}, "count": "7"},
            ["Order", "Bill", "Order", "Bill", "str"],
        ),
        ((Order(number=1), None), {}, ["Order", "NoneType", "NoneType", "NoneType", "int"]),
    ],
)
def test_data_becomes_models(app: Umbel, args: Any, kwargs: Any, expected: list[str]) -> None:
    task = task_of(app, kinds)
    assert task.apply(args, kwargs).get() == expected
    assert task(*args, **kwargs) == expected


def test_data_that_does_not_fit_is_the_tasks_failure(app: Umbel) -> None:
    result = task_of(app, kinds).apply(({"number": "many"},))
    assert isinstance(result.result, pydantic.ValidationError)
    assert task_of(app, kinds).apply(({"number": "1"},)).successful()


def test_strictly(app: Umbel) -> None:
    result = task_of(app, kinds, pydantic_strict=True).apply(({"number": "1"},))
    assert isinstance(result.result, pydantic.ValidationError)


def one(order: Order) -> Bill:
    return Bill(text=str(order.number))


def optional(order: Order) -> Bill | None:
    return Bill(text="x") if order.number else None


def silent(order: Order) -> Any:
    return order


def test_models_that_are_returned_become_data(app: Umbel) -> None:
    assert task_of(app, one).apply(({"number": 1},)).get() == {"text": "1"}


@pytest.mark.parametrize(("number", "expected"), [(0, None), (1, {"text": "x"})])
def test_none_may_be_returned(app: Umbel, number: int, expected: Any) -> None:
    assert task_of(app, optional).apply(({"number": number},)).get() == expected


def test_only_what_is_announced_is_dumped(app: Umbel) -> None:
    assert task_of(app, silent).apply(({"number": 1},)).get() == Order(number=1)


def test_how_it_is_dumped(app: Umbel) -> None:
    task = task_of(app, one, pydantic_dump_kwargs={"exclude": {"text"}})
    assert task.apply(({"number": 1},)).get() == {}


class Curious(BaseModel):  # type: ignore[misc]
    seen: Any = None

    @pydantic.model_validator(mode="before")  # type: ignore[untyped-decorator]
    @classmethod
    def look(cls, data: Any, info: Any) -> Any:
        return {"seen": info.context}


def curious(value: Curious) -> Any:
    return value.seen


def test_validators_get_a_context(app: Umbel) -> None:
    found = task_of(app, curious, pydantic_context={"a": 1}).apply(({},)).get()
    assert found == {"a": 1, "celery_app": app, "celery_task_name": "t"}


def test_the_caller_may_pass_models(app: Umbel) -> None:
    task_of(app, kinds).delay(Order(number=4), Bill(text="b"), new=Order(number=5))
    call = only_call(app)
    assert (call.args, call.kwargs) == (
        [{"number": 4}, {"text": "b"}],
        {"new": {"number": 5}},
    )


def several(self: Made, first: Order, *rest: Order, **more: Order) -> list[str]:
    return [self.name, *(type(value).__name__ for value in (first, *rest, *more.values()))]


def test_a_bound_task_and_variable_arguments(app: Umbel) -> None:
    task = task_of(app, several, bind=True)
    data = {"number": 1}
    assert task.apply((data, data), {"x": data}).get() == ["t", "Order", "dict", "dict"]
    task.delay(Order(number=1))
    assert only_call(app).args == [{"number": 1}]
    with pytest.raises(EncodeError, match="argument 2 cannot be sent as json"):
        task.delay(data, Order(number=2))


class Whole(Order):
    extra: int = 0


def test_a_model_that_would_come_back_as_another_is_left_to_the_serializer(app: Umbel) -> None:
    with pytest.raises(EncodeError, match="argument 'order' cannot be sent"):
        task_of(app, one).delay(Whole(number=1, extra=2))


class Broken(BaseModel):  # type: ignore[misc]
    number: int

    @pydantic.model_serializer  # type: ignore[untyped-decorator]
    def write(self) -> Any:
        raise ValueError("only in a worker")


def broken(value: Broken) -> None: ...


def test_a_model_that_cannot_be_dumped_here(app: Umbel) -> None:
    with pytest.raises(EncodeError, match="argument 'value' cannot be sent"):
        task_of(app, broken).delay(Broken(number=1))


async def asynchronous(order: Order) -> Bill:
    return Bill(text=str(order.number))


def test_coroutines(app: Umbel) -> None:
    task = task_of(app, asynchronous)
    assert task.is_async
    assert task.apply(({"number": 1},)).get() == {"text": "1"}


def test_names_that_are_not_known_yet_are_left_alone(app: Umbel) -> None:
    space: dict[str, Any] = {"Order": Order}
    text = "def work(order: Order, other: 'Missing') -> None: return type(order).__name__"
    exec(compile(text, "text", "exec", dont_inherit=True), space)  # noqa: S102
    task = task_of(app, space["work"])
    assert task.apply(({"number": 1}, {})).get() == "Order"


def test_without_pydantic_the_error_says_what_to_install(
    app: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(ImproperlyConfigured, match="Install it: pip install pydantic"):
        task_of(app, one)


def again(self: Any, order: Order, note: str = "") -> Any:
    if self.request.retries == 0:
        raise self.retry(kwargs={"order": {"number": 2}}, countdown=0)
    return [order.number, note]


def test_a_retry_knows_the_parameters(app: Umbel) -> None:
    assert task_of(app, again, bind=True).apply(({"number": 1}, "n")).get() == [2, "n"]
