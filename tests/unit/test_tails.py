"""The rest of a chain as raw bytes, held against reading and writing it whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from umbel import tails
from umbel.exceptions import MessageTooLarge
from umbel.limits import DEFAULT, FixedLimits
from umbel.links import after_next, next_of
from umbel.message import Call, Message, decode
from umbel.serialization import JSON, serializer
from umbel.tails import Ending, RawTail, around, cut, last_start, tail_of, whole
from umbel.writing import encode

#: Texts that look like what is searched for, and others.
TEXTS = (
    *(
        ', "chain": [',
        '"chain": [',
        '], "chord": ',
        '"}], "chord": null}]',
        "\\",
        '"',
        '\\"',
        "}]",
        "{",
        "[{",
    ),
    *(', {"task": "', "ä", "\u2028", "", "x"),
)
SEEDS = range(400)


def value(random: Random, depth: int = 3) -> Any:
    kind = random.randrange(7 if depth else 4)
    if kind < 2:
        return "".join(random.choices(TEXTS, k=random.randrange(4)))
    if kind < 4:
        return random.choice((None, True, 17, -1.5e300, 2**70))
    if kind == 4:
        return values(random, depth - 1)
    return mapping(random, depth - 1)


def values(random: Random, depth: int = 3) -> list[Any]:
    return [value(random, depth) for _ in range(random.randrange(4))]


def mapping(
    random: Random, depth: int = 3, more: tuple[str, ...] = ("chain", "chord", "task")
) -> dict[str, Any]:
    names = random.sample((*TEXTS, *more), k=random.randrange(4))
    return {name: value(random, depth) for name in names}


def signature(args: Any, kwargs: Any, options: Any) -> dict[str, Any]:
    return {
        "task": "add",
        "args": args,
        "kwargs": kwargs,
        "options": options,
        "subtask_type": None,
        "immutable": False,
    }


def signatures(random: Random, least: int) -> list[Any]:
    some = range(random.randrange(least, 4))
    return [signature(values(random), mapping(random), mapping(random)) for _ in some]


def content_of(random: Random) -> list[Any]:
    chord = (None, *signatures(random, 0))
    return body(
        values(random),
        mapping(random),
        random.choice((None, signatures(random, 0))),
        random.choice((None, signatures(random, 0))),
        signatures(random, 1),
        random.choice(chord),
    )


@pytest.fixture(autouse=True)
def _of_any_size() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tails, "SMALL", 0)
        patch.setattr(tails, "_CHUNK", 16)
        yield


def body(
    args: Any, kwargs: Any, callbacks: Any, errbacks: Any, chain: Any, chord: Any
) -> list[Any]:
    embed = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord}
    return [args, kwargs, embed]


def test_what_is_cut_is_what_is_read_whole() -> None:
    """Or nothing is said: where what a call has of its own looks too often like the parts of a body."""
    told = [check_cut(content_of(Random(seed))) for seed in SEEDS]
    assert sum(told) > len(told) * 0.9


def check_cut(content: list[Any]) -> bool:
    data = JSON.dumps(content)
    found = cut(data, DEFAULT)
    if found is None:
        assert data.count(b'"chain": [') > 4 or data.count(b'"chord": ') > 4
        return False
    args, kwargs, embed = found
    tail = embed["chain"]
    assert [args, kwargs, {**embed, "chain": list(tail)}] == content
    assert next_of(tail) == content[2]["chain"][-1]
    rest = after_next(tail)
    assert list(rest or ()) == content[2]["chain"][:-1]
    before, behind = around(found)
    assert before + tail.text + behind == data
    return True


def test_the_last_step_is_found() -> None:
    for seed in SEEDS:
        steps = signatures(Random(seed), 1)
        text = JSON.dumps(steps)[1:-1]
        at = last_start(text)
        assert at is not None, seed
        assert json.loads(text[at:]) == steps[-1]
        assert text[:at] == (JSON.dumps(steps[:-1])[1:-1] + b", " if len(steps) > 1 else b"")


STEPS = [signature([number], {}, {"task_id": f"id-{number}"}) for number in range(50)]


@pytest.mark.parametrize(
    "data",
    [
        json.dumps(body([1], {}, None, None, STEPS, None), separators=(",", ":")).encode(),
        json.dumps(body([1], {}, None, None, STEPS, None), indent=1).encode(),
        json.dumps(body([1], {}, None, None, STEPS, None)).encode() + b" ",
        JSON.dumps(body([1], {}, None, None, None, None)),
        JSON.dumps(body([1], {}, None, None, [], None)),
        JSON.dumps(body([1], {}, None, None, [1, 2], None)),
        JSON.dumps([[1], {}, {"chain": STEPS, "chord": None}]),
        JSON.dumps([[1], {}, {**body(0, 0, None, None, STEPS, None)[2], "more": 1}]),
        b"",
        b"}]",
        b', "chain": [{}], "chord": null}]',
        b'[[], {}, {"callbacks": null, "errbacks": null, "chain": [], "chord": null}]',
        b'[[], {}, {"callbacks": null, "errbacks": null, "chain": ["}], "chord": null}]',
    ],
)
def test_what_is_written_in_another_way_is_left_to_who_reads_it_whole(data: bytes) -> None:
    assert cut(data, DEFAULT) is None


def call_of(steps: int, **fields: Any) -> tuple[Call, Message]:
    chain = [STEPS[number % len(STEPS)] for number in range(steps)]
    message = encode(Call("add", "some-id", (1, 2), chain=chain, **fields), JSON)
    return decode(message, ("json",)), message


def test_a_message_passes_on_the_bytes_of_the_steps_behind_the_next() -> None:
    """Neither reading nor writing looks at them: they need not even be JSON."""
    call, message = call_of(50)
    assert isinstance(call.chain, RawTail)
    strange = message.body.replace(b'"id-7"', b"?")
    call = decode(Message(message.headers, {}, strange), ("json",))
    assert call.chain.step == STEPS[49]
    written = encode(Call("add", "next", chain=after_next(call.chain)), JSON)
    assert b"?" in written.body
    assert written.body.count(b'"task"') == 49


def test_the_last_step_leaves_nothing() -> None:
    call, _ = call_of(1)
    assert after_next(call.chain) is None


def test_a_small_message_is_read_whole() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tails, "SMALL", 2048)
        assert type(call_of(3)[0].chain) is list


def test_a_serializer_that_is_not_json_writes_the_whole() -> None:
    call, _ = call_of(50)
    for name in ("pickle", "msgpack"):
        written = encode(call, serializer(name))
        assert decode(written, (name,)).chain == STEPS


def test_what_is_around_a_tail_may_not_be_too_deep() -> None:
    call, message = call_of(50)
    deep: Any = []
    for _ in range(20):
        deep = [deep]
    with pytest.raises(MessageTooLarge):
        encode(
            Call("add", "i", (deep,), chain=call.chain),
            JSON,
            limits=FixedLimits(message_max_depth=10),
        )
    shallow = FixedLimits(message_max_depth=8)
    assert list(decode(message, ("json",), shallow).chain) == STEPS


def test_content_without_a_raw_tail_stays_as_it_is() -> None:
    content: Any = ((1,), {}, {"chain": STEPS})
    assert whole(content) is content
    assert tail_of({"task": "of protocol 1"}) is None


CHORD = signature([1], {}, {"task_id": "body"})


def test_calls_of_one_header_share_the_chord_that_was_read_once() -> None:
    first, second, other = (
        decode(encode(Call("add", "i", (n,), chain=chain, chord=chord), JSON), ("json",))
        for n, chain, chord in ((1, None, CHORD), (2, STEPS[:2], CHORD), (3, None, STEPS[0]))
    )
    assert first.chord == CHORD
    assert second.chord is first.chord
    assert (second.args, list(second.chain)) == ([2], STEPS[:2])
    assert other.chord == STEPS[0]


def test_a_chord_is_told_as_if_the_body_was_read_whole() -> None:
    for seed in SEEDS:
        random = Random(seed)
        content = content_of(random)
        ending = Ending()
        ending.note(JSON.dumps(content), content, DEFAULT)
        again = [values(random), mapping(random), {**content[2], "chain": None}]
        found = ending.cut(JSON.dumps(again), DEFAULT)
        assert found is None or list(found) == again, seed
