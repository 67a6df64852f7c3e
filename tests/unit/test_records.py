import json
import sys
import types
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel import exceptions, states
from umbel.exceptions import (
    DecodeError,
    EncodeError,
    RemoteError,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    WorkerLostError,
)
from umbel.failures import from_data, to_data
from umbel.records import ResultRecord, TaskResult, decode, encode
from umbel.serialization import dumps

DONE = datetime(2050, 1, 1, 12, tzinfo=UTC)


class Declined(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code


class Demanding(Exception):
    def __init__(self, *, must: str) -> None:
        super().__init__(must)


class Outer:
    class Inner(Exception):
        pass


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


def stored(**document: Any) -> ResultRecord:
    whole = {"status": "SUCCESS", "result": None, "task_id": "some-id"} | document
    return ResultRecord("some-id", whole["status"], json.dumps(whole))


class TestDocument:
    def test_a_success(self) -> None:
        record = encode(TaskResult("some-id", states.SUCCESS, 3, date_done=DONE), expires=5.0)
        assert (record.task_id, record.state, record.expires) == ("some-id", "SUCCESS", 5.0)
        assert record.ready
        assert json.loads(record.document) == {
            "status": "SUCCESS",
            "result": 3,
            "traceback": None,
            "children": [],
            "date_done": "2050-01-01T12:00:00+00:00",
            "task_id": "some-id",
        }

    def test_group_and_parent_are_written_where_there_are_any(self) -> None:
        record = encode(TaskResult("some-id", "SUCCESS", group_id="group", parent_id="parent"))
        document = json.loads(record.document)
        assert list(document)[-3:] == ["group_id", "parent_id", "task_id"]

    @pytest.mark.parametrize("state", sorted(states.ALL_STATES))
    def test_only_final_states_are_ready(self, state: str) -> None:
        assert encode(TaskResult("some-id", state)).ready is (state in states.READY_STATES)

    def test_a_result_that_is_not_json_is_an_encode_error(self) -> None:
        with pytest.raises(EncodeError):
            encode(TaskResult("some-id", "SUCCESS", {1, 2}))

    def test_an_exception_that_a_task_returned_is_no_json(self) -> None:
        with pytest.raises(EncodeError):
            encode(TaskResult("some-id", "SUCCESS", ValueError("v")))

    @pytest.mark.parametrize("document", ["", "{", "[]", "{}", '{"status": 5}', "null"])
    def test_what_is_no_result_document_is_told_by_id(self, document: str) -> None:
        with pytest.raises(DecodeError, match=r"some-id|JSON"):
            decode(ResultRecord("some-id", "SUCCESS", document))

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("2050-01-01T12:00:00+00:00", DONE),
            ("2050-01-01T12:00:00Z", DONE),
            (DONE.timestamp(), DONE),
            ("long ago", None),
            (None, None),
            ([], None),
            (1e300, None),
            (float("nan"), None),
        ],
    )
    def test_the_time_is_read_where_it_can_be(self, written: object, read: object) -> None:
        assert decode(stored(date_done=written)).date_done == read

    def test_a_missing_id_is_that_of_the_record(self) -> None:
        assert decode(stored(task_id=None)).task_id == "some-id"

    def test_a_failure_without_a_result(self) -> None:
        assert decode(stored(status="RETRY", result=None)).result is None

    def test_a_dictionary_that_looks_like_an_exception_but_was_returned(self) -> None:
        value = {"exc_type": "ValueError", "exc_module": "builtins", "exc_message": []}
        assert decode(stored(result=value)).result == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.dates() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@settings(deadline=None, max_examples=40)
@given(
    st.builds(
        TaskResult,
        task_id=st.text(min_size=1),
        state=st.sampled_from(sorted(states.ALL_STATES - states.EXCEPTION_STATES)),
        result=json_values,
        traceback=st.none() | st.text(),
        date_done=st.none() | st.datetimes(timezones=st.just(UTC)),
        parent_id=st.none() | st.text(min_size=1),
        group_id=st.none() | st.text(min_size=1),
    )
)
def test_what_is_stored_is_read_back(result: TaskResult) -> None:
    assert decode(encode(result)) == result


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.sampled_from(["exc_type", "exc_module", "exc_message"]), json_values))
def test_whatever_is_stored_as_an_exception_gives_one(data: dict[str, Any]) -> None:
    assert isinstance(from_data(data), BaseException)


def again(error: BaseException) -> Any:
    return decode(encode(TaskResult("some-id", states.FAILURE, error))).result


class TestExceptions:
    @pytest.mark.parametrize(
        "error",
        [
            ValueError("boom"),
            KeyError("x"),
            ZeroDivisionError(),
            ValueError(1, None, ["a"]),
            Declined(402, "no funds"),
            Outer.Inner("inner"),
            TaskRevokedError("revoked"),
            WorkerLostError("exitcode 4"),
            SoftTimeLimitExceeded(),
            RemoteError("payments.CardDeclined", "no funds"),
            RemoteError("CardDeclined", "no funds"),
        ],
        ids=repr,
    )
    def test_comes_back_as_it_was(self, error: BaseException) -> None:
        found = again(error)
        assert type(found) is type(error) or isinstance(error, RemoteError)
        assert isinstance(found, type(error))
        assert found.args == error.args

    def test_arguments_that_are_not_json_become_texts(self) -> None:
        assert again(ValueError({1}, "a")).args == ("{1}", "a")
        assert "Unrepresentable" in again(ValueError(Broken())).args[0]

    @pytest.mark.parametrize(
        ("error", "module"),
        [
            (TaskRevokedError("revoked"), "celery.exceptions"),
            (exceptions.NotRegistered("proj.add"), "celery.exceptions"),
            (WorkerLostError(), "billiard.exceptions"),
            (exceptions.TimeLimitExceeded(5), "billiard.exceptions"),
            (exceptions.OperationalError(), "kombu.exceptions"),
            (exceptions.LeaseLost(), "umbel.exceptions"),
            (Declined(1, "a"), __name__),
            (RemoteError("payments.CardDeclined"), "payments"),
        ],
        ids=repr,
    )
    def test_travels_under_the_name_that_celery_knows(
        self, error: BaseException, module: str
    ) -> None:
        assert to_data(error, dumps)["exc_module"] == module

    def test_every_name_shared_with_celery_is_one_of_ours(self) -> None:
        for name in exceptions.CELERY_MODULES:
            assert issubclass(getattr(exceptions, name), exceptions.UmbelError)

    def test_an_unknown_class_becomes_a_remote_error(self) -> None:
        found = from_data(
            {"exc_type": "CardDeclined", "exc_module": "payments", "exc_message": ["no", 1]}
        )
        assert isinstance(found, RemoteError)
        assert (found.type_name, found.args[1:]) == ("payments.CardDeclined", ("no", 1))

    def test_a_constructor_that_wants_other_arguments_is_passed_over(self) -> None:
        found = again(Demanding(must="do"))
        assert type(found) is Demanding
        assert str(found) == "do"

    @pytest.mark.parametrize(
        ("message", "args"),
        [(None, ()), ("text", ("text",)), (["a", 1], ("a", 1)), ([], ()), ({"a": 1}, ({"a": 1},))],
    )
    def test_forms_of_the_message(self, message: object, args: tuple[object, ...]) -> None:
        data = {"exc_type": "ValueError", "exc_module": "builtins", "exc_message": message}
        found = from_data(data)
        assert type(found) is ValueError
        assert found.args == args

    @pytest.mark.parametrize(
        ("module", "name"),
        [
            ("os", "system"),
            ("builtins", "eval"),
            ("builtins", "object"),
            ("subprocess", "Popen"),
            ("builtins", "ValueError.__init__"),
            ("umbel.exceptions", "builtins.eval"),
            ("umbel.exceptions", ""),
            (None, "ValueError"),
            (5, "ValueError"),
            ("builtins", None),
            ("builtins", ["ValueError"]),
        ],
    )
    def test_nothing_but_an_exception_is_called(self, module: object, name: object) -> None:
        data = {"exc_type": name, "exc_module": module, "exc_message": ["echo called"]}
        assert isinstance(from_data(data), RemoteError)

    def test_no_module_is_imported(self) -> None:
        name = "wave"
        sys.modules.pop(name, None)
        from_data({"exc_type": "Error", "exc_module": name, "exc_message": []})
        assert name not in sys.modules


@pytest.fixture
def lazy_module() -> Iterator[types.ModuleType]:
    module = types.ModuleType("lazy_payments")

    def load(name: str) -> object:
        raise ImportError(f"{name} would be imported now")

    module.__dict__["__getattr__"] = load
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def test_what_a_module_would_import_lazily_is_left_alone(lazy_module: types.ModuleType) -> None:
    data = {"exc_type": "Declined", "exc_module": lazy_module.__name__, "exc_message": []}
    assert isinstance(from_data(data), RemoteError)
