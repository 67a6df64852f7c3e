"""The next step of a chain is the same message, whether it is sent as a plain one or by its signature."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from tests.conftest import ManualClock
from tests.unit.worker.support import Made, delivery_of
from umbel import Umbel, following, records, tails
from umbel.engines.memory.space import forget_space
from umbel.message import Publication
from umbel.worker.decide import decide
from umbel.worker.execute import Runner

#: Settings, options of the task, of the step, and of the call that it follows.
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "task_serializer": st.sampled_from(["json", "pickle", "yaml", "msgpack"]),
        "task_compression": st.just("gzip"),
        "task_default_priority": st.just(3),
        "task_default_delivery_mode": st.just(1),
        "task_inherit_parent_priority": st.booleans(),
        "task_ignore_result": st.booleans(),
        "task_routes": st.sampled_from([{"add": "other"}, {"add": {"priority": 7}}]),
        "workflow_by_reference": st.booleans(),
    },
)
OF_TASK = st.fixed_dictionaries(
    {},
    optional={
        "queue": st.just("mine"),
        "routing_key": st.just("key"),
        "priority": st.just(5),
        "serializer": st.just("pickle"),
        "compression": st.just("zlib"),
        "expires": st.just(30),
        "time_limit": st.just(9),
        "ignore_result": st.booleans(),
        "trail": st.booleans(),
        "typing": st.booleans(),
    },
)
LINKED = {"task": "add", "args": [1], "kwargs": {}, "options": {"task_id": "linked"}}
OF_CALL: dict[str, Any] = {
    "task_id": st.just("id"),
    "reply_to": st.just("who"),
    "root_id": st.just("root"),
    "parent_id": st.just("parent"),
    "priority": st.just(6),
    "headers": st.just({"name": "value"}),
    "expires": st.just(60),
    "link": st.just([LINKED]),
    "link_error": st.just([LINKED]),
    "ignore_result": st.booleans(),
    "shadow": st.just("shadow"),
    "time_limit": st.just(8),
}
STEP = st.fixed_dictionaries(
    {}, optional={**OF_CALL, "queue": st.just("far"), "countdown": st.just(7.0)}
)
#: Most steps are like that.
IDS = st.fixed_dictionaries({}, optional={name: OF_CALL[name] for name in ("task_id", "reply_to")})
#: No step behind the next; a few; more than are read at once (`umbel.tails`).
BEHIND = st.sampled_from([0, 1, 50])


@given_settings(max_examples=300)
@given(
    SETTINGS,
    OF_TASK,
    IDS | STEP,
    st.fixed_dictionaries({}, optional=OF_CALL),
    BEHIND,
    st.booleans(),
)
def test_a_step_is_the_same_message_either_way(
    settings: dict[str, Any],
    of_task: dict[str, Any],
    of_step: dict[str, Any],
    of_call: dict[str, Any],
    behind: int,
    immutable: bool,
) -> None:
    app = Umbel("proj", broker="memory://steps", backend="memory://steps", set_as_current=False)
    app.conf.update(settings, accept_content=["json", "pickle", "yaml", "msgpack"])
    add: Made = app.task(name="add", **of_task)(_first)
    app.clock = ManualClock()
    step = add.si(4, y=10) if immutable else add.s(y=10)
    last = [add.si(number).set(task_id=f"{number}") for number in range(behind)]
    call = {"task_id": "first", **of_call}
    delivery = delivery_of(add, 1, chain=[*last, step.set(**of_step)], **call)
    runner = Runner(app, "celery@host")
    try:
        made = []
        for plainly in (True, False):
            with pytest.MonkeyPatch.context() as patch:
                if not plainly:
                    patch.setattr(following, "_send_plain_step", lambda *_: False)
                found = decide(runner.run(runner.prepare(delivery)), app.conf.snapshot, app.clock)
            result = found.settlement.result
            children = None if result is None else records.decode(result).children
            made.append(([_said(one) for one in found.settlement.publish], children))
        assert made[0] == made[1]
        assert made[0][0]
    finally:
        runner.close()
        app.close()
        forget_space("steps")


def _first(x: int, y: int = 0) -> int:
    return x


def _said(one: Publication) -> list[Any]:
    """Return all that a publication says, however its parts are kept."""
    message = one.message
    return [
        dict(message.headers),
        dict(message.properties),
        message.body,
        (message.content_type, message.content_encoding),
        repr(tails.whole(one.content)),
        (one.queue, one.tag, one.priority, one.due, one.exchange, one.routing_key),
        (one.more_queues, one.task, one.task_id, one.is_new),
    ]
