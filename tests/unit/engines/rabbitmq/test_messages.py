"""What travels, what is acknowledged, and where what is due later waits; without a server."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from amqp.serialization import decode_properties_basic, dumps

from tests.each import for_each
from umbel.engines.rabbitmq import properties, shapes, wire
from umbel.engines.rabbitmq.delays import LEVELS, Delays, without_delay
from umbel.engines.rabbitmq.envelope import read, tag_of, write
from umbel.engines.rabbitmq.held import Holdings
from umbel.engines.rabbitmq.properties import (
    BASIC_PROPERTIES,
    properties_at,
    written_properties,
)
from umbel.engines.rabbitmq.topology import arguments_of, limit_warning
from umbel.engines.rabbitmq.wire import FRAME_MAX, Event, Reader
from umbel.entities import Queue
from umbel.exceptions import EncodeError, OperationalError
from umbel.limits import DEFAULT, UNREAD
from umbel.message import Message, Publication

DELIVERY = ["tag", 7, False, "", "queue"]


def travelled(data: bytes, size: int = 0) -> list[Event]:
    """Return what a reader makes of bytes that come in pieces of `size`."""
    reader = Reader()
    pieces = [data[at : at + size] for at in range(0, len(data), size)] if size else [data]
    return [event for piece in pieces for event in reader.feed(piece)]


def delivered(publication: Publication, size: int = 0) -> Event:
    written = write(publication, FRAME_MAX)
    deliver = wire.method(wire.DELIVER, "sLbss", *DELIVERY)
    content = wire.content(written.properties, written.body, 4096)
    [event] = travelled(deliver + content, size)
    return event


def test_messages_of_channels_may_come_in_turns() -> None:
    frames = []
    for channel, body in ((2, b"first"), (3, b"second")):
        whole = wire.method(wire.GET_OK, "Lbssl", 7, False, "", "queue", 0, channel=channel)
        content = wire.content(b"\0\0", body, FRAME_MAX)
        header = len(content) - len(body) - wire.AROUND
        parts = [content[:header], content[header:]]
        frames.append([whole, *(part[:1] + bytes([0, channel]) + part[3:] for part in parts)])
    turns = b"".join(frame for pair in zip(*frames, strict=True) for frame in pair)
    found = [(event.number, event.body) for event in travelled(turns)]
    assert found == [((2, 7), b"first"), ((3, 7), b"second")]


@pytest.mark.parametrize("size", [0, 1, 7, 4096])
def test_a_message_is_read_in_whatever_pieces_it_comes(size: int) -> None:
    message = Message({"id": "1", "a": [1, {"b": None}]}, {"correlation_id": "1"}, bytes(5000))
    found = read(delivered(Publication("queue", message, "tag", 5), size), "queue", "key", DEFAULT)
    assert (found.message, found.tag, found.priority) == (message, "tag", 5)


def test_what_is_no_frame_is_told() -> None:
    with pytest.raises(OperationalError, match="no AMQP frame"):
        travelled(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(OperationalError, match="AMQP's order"):
        travelled(b"\x03\x00\x01\x00\x00\x00\x01x\xce")


def by_py_amqp(values: dict[str, Any]) -> bytes:
    """Return properties as py-amqp writes them."""
    flags, kinds = 0, ""
    for place, (name, kind) in enumerate(BASIC_PROPERTIES):
        if name in values:
            flags, kinds = flags | 0x8000 >> place, kinds + kind
    return flags.to_bytes(2, "big") + bytes(dumps(kinds, list(values.values())))


def outcome(act: Callable[..., Any], *arguments: Any) -> str:
    """Return what comes of a call: a value, or the type of an error."""
    try:
        return repr(act(*arguments))
    except Exception as error:  # noqa: BLE001 - whichever it is, it is compared
        return type(error).__name__


def anything(dice: random.Random, depth: int = 0) -> Any:
    """Return something that a header may be."""
    scalars: list[Any] = [
        None,
        True,
        False,
        dice.randint(-5, 5),
        dice.random(),
        "é\ud800",
        "x" * 300,
        b"\xff",
    ]
    scalars += [2**31 - 1, 2**31, -(2**31), 2**62, -(2**63), 2**64, Decimal("1.5")]
    scalars += [datetime(2026, 11, 27, 12, tzinfo=UTC), {}, [], ()]
    if depth == 3 or dice.random() < 0.7:
        return dice.choice(scalars)
    inner = [anything(dice, depth + 1) for _ in range(dice.randint(0, 4))]
    return dice.choice([inner, tuple(inner), {f"é{n}": one for n, one in enumerate(inner)}])


def test_properties_travel_and_break_as_those_of_py_amqp() -> None:
    dice = random.Random(7)
    of: dict[str, Callable[[], Any]] = {
        "s": lambda: dice.choice(["", "text", "\ud800", "x" * 256]),
        "o": lambda: dice.choice([0, 9, 255, 256]),
        "F": lambda: {f"header{n}": anything(dice) for n in range(dice.randint(0, 6))},
        "L": lambda: 2**40,
    }
    for _ in range(500):
        values = {name: of[kind]() for name, kind in BASIC_PROPERTIES if dice.random() < 0.4}
        written = outcome(by_py_amqp, values)
        assert outcome(written_properties, values) == written
        if not written.startswith("b"):
            continue
        data = bytearray(by_py_amqp(values))
        for _ in range(3):
            found = outcome(lambda data: decode_properties_basic(data, 0)[0], bytes(data))
            assert outcome(properties_at, bytes(data), 0) == found
            data[dice.randrange(len(data))] = dice.randrange(256)
            del data[dice.choice([len(data), dice.randrange(len(data)) + 1]) :]


def varied(dice: random.Random, value: Any) -> Any:
    """Return something that looks like this: of its kind and its length, most of the time."""
    if isinstance(value, dict):
        return {name: varied(dice, one) for name, one in value.items()}
    if isinstance(value, str) and value.isascii() and dice.random() < 0.6:
        return "".join(dice.choices("ab\x00", k=len(value)))
    if type(value) in (int, float) and dice.random() < 0.5:
        return value + dice.choice([-1, 1])
    return None if dice.random() < 0.01 else value


def test_properties_that_look_alike_are_those_of_py_amqp(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(11)
    monkeypatch.setattr(properties, "_shapes", shapes.Shapes())
    monkeypatch.setattr(shapes, "OFTEN", 1)
    monkeypatch.setattr(shapes, "MOST_LENGTHS", 100)
    copies: list[int] = []
    read = shapes.Shape.read

    def counted(self: shapes.Shape, data: bytes, at: int) -> dict[str, Any] | None:
        found = read(self, data, at)
        copies.extend([] if found is None else [at])
        return found

    monkeypatch.setattr(shapes.Shape, "read", counted)
    for _ in range(300):
        headers = {f"header{n}": anything(dice) for n in range(dice.randint(0, 6))}
        first = {"application_headers": headers, "delivery_mode": 2, "reply_to": "text"}
        for _ in range(8):
            values = varied(dice, first)
            if not outcome(by_py_amqp, values).startswith("b"):
                continue
            data = bytearray(b"before" + by_py_amqp(values))
            for _ in range(2):
                found = outcome(lambda data: decode_properties_basic(data, 6)[0], bytes(data))
                assert outcome(properties_at, bytes(data), 6) == found
                data[dice.randrange(6, len(data))] = dice.randrange(256)
    assert len(copies) > 500


def test_what_looks_alike_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties, "_shapes", shapes.Shapes())
    monkeypatch.setattr(shapes, "OFTEN", 1)
    headers = {"id": "a", "stamps": {"deep": {"text": "b"}}, "timelimit": [None, None]}
    data = written_properties({"application_headers": headers, "reply_to": "c"})
    for _ in range(3):
        found = properties_at(data, 0)
        assert found == {"application_headers": headers, "reply_to": "c"}
        found["application_headers"]["stamps"]["deep"].clear()
        found["application_headers"]["timelimit"].clear()
        found["application_headers"].clear()


def test_of_two_headers_of_one_name_the_last_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "OFTEN", 1)
    for twins in ("SS", "SI", "FS"):
        monkeypatch.setattr(properties, "_shapes", shapes.Shapes())
        values = {"S": b"S\0\0\0\x01%c", "I": b"I\0\0\0%c", "F": b"F\0\0\0\0"}
        for letter in b"abc":
            parts = [
                b"\x01x" + (values[one] % letter if b"%" in values[one] else values[one])
                for one in twins
            ]
            table = b"".join(parts)
            data = b"\x20\0" + len(table).to_bytes(4, "big") + table
            assert properties_at(data, 0) == decode_properties_basic(data, 0)[0]


def test_few_shapes_are_kept() -> None:
    kept = shapes.Shapes()
    assert not any(kept.is_new(shapes.LONGEST + 1) for _ in range(2 * shapes.OFTEN))
    assert [kept.is_new(5) for _ in range(shapes.OFTEN)] == [False] * (shapes.OFTEN - 1) + [True]
    for number in range(2 * shapes.MOST_LENGTHS):
        kept.keep(bytes(number), 0, shapes.Marks())
        kept.is_new(number)
    assert len(kept._shapes) <= shapes.MOST_LENGTHS
    for letter in b"abcdefgh":
        kept.keep(bytes([letter]), 0, shapes.Marks())
    assert len(kept._shapes[1]) == shapes.MOST_OF_A_LENGTH


def test_names_of_headers_are_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[bytes, str] = {}
    monkeypatch.setattr(properties, "_names_read", kept)
    monkeypatch.setattr(properties, "MOST_NAMES", 3)
    headers = {f"é{number}": number for number in range(5)}
    data = written_properties({"application_headers": headers})
    for _ in range(2):
        assert properties_at(data, 0) == {"application_headers": headers}
    assert list(kept.values()) == ["é0", "é1", "é2"]


@pytest.mark.parametrize("how", ["too deep", "of no kind"])
def test_headers_that_cannot_be_read_are_the_messages_own_trouble(how: str) -> None:
    table = b"\x01xV"
    for _ in range(5000 if how == "too deep" else 0):
        table = b"\x01xF" + len(table).to_bytes(4, "big") + table
    if how == "of no kind":
        table = b"\x01x?"
    properties = b"\x20\x00" + len(table).to_bytes(4, "big") + table
    deliver = wire.method(wire.DELIVER, "sLbss", *DELIVERY)
    [event] = travelled(deliver + wire.content(properties, b"body", FRAME_MAX))
    message = read(event, "queue", "key", DEFAULT).message
    assert message.body == b"body"
    assert ("RecursionError" if how == "too deep" else "FrameSyntax") in message.headers[UNREAD]


def test_a_message_of_celerys_has_the_same_tag_whenever_it_comes() -> None:
    one = Message({"id": "1", "retries": 0}, {}, b"body")
    assert tag_of(one) == tag_of(Message({"retries": 0, "id": "1", "x": 1}, {}, b"body"))
    assert tag_of(one) != tag_of(Message({"id": "1", "retries": 1}, {}, b"body"))
    event = Event(wire.DELIVER, list(DELIVERY), {"application_headers": {"id": "1"}}, b"body")
    assert read(event, "queue", "key", DEFAULT).tag == tag_of(Message({"id": "1"}, {}, b"body"))


@for_each(
    ("headers", "redelivered", "count", "crashes"),
    [
        ({}, False, 1, 0),
        ({}, True, 2, 0),
        ({"x-delivery-count": 4}, True, 5, 0),
        ({"umbel": {"crashes": 2}}, False, 1, 2),
        ({"umbel": {"crashes": "x"}, "x-delivery-count": "x"}, False, 1, 0),
        ({"umbel": "x"}, False, 1, 0),
    ],
)
def test_a_delivery_says_how_often_it_was_handed_over(
    headers: dict[str, Any], redelivered: bool, count: int, crashes: int
) -> None:
    arguments = ["tag", 7, redelivered, "", "queue"]
    event = Event(wire.DELIVER, arguments, {"application_headers": headers}, b"")
    found = read(event, "queue", "key", DEFAULT)
    assert (found.count, found.crashes, found.message.headers) == (count, crashes, {})


def test_one_word_acknowledges_all_before_the_first_that_stays() -> None:
    held = Holdings()
    for number in range(1, 8):
        held.opened((1, number))
    assert held.settled([(1, 1), (1, 2), (1, 3), (1, 5)]) == (
        wire.method(wire.ACK, "Lb", 3, True) + wire.method(wire.ACK, "Lb", 5, False)
    )
    assert held.settled([(1, 3), (1, 99)]) == b""
    assert held.returned([(1, 7), (1, 3)]) == wire.method(wire.REJECT, "Lb", 7, True)
    assert held.settled([(1, 4), (1, 6)]) == wire.method(wire.ACK, "Lb", 6, True)


def test_each_delivery_is_settled_on_its_channel() -> None:
    held = Holdings()
    for number in [(1, 1), (1, 2), (3, 1), (3, 2), (3, 3)]:
        held.opened(number)
    assert held.settled([(3, 2), (1, 1), (3, 1)]) == (
        wire.method(wire.ACK, "Lb", 2, True, channel=3) + wire.method(wire.ACK, "Lb", 1, True)
    )
    assert held.returned([(1, 2), (3, 3)]) == (
        wire.method(wire.REJECT, "Lb", 2, True) + wire.method(wire.REJECT, "Lb", 3, True, channel=3)
    )
    assert held.settled([(1, 2), (2, 1), (3, 3)]) == b""


def test_a_consumer_of_one_message_ends_before_that_is_settled() -> None:
    """Else it would be sent the next one; and ended before, it might lose what it holds."""
    held = Holdings()
    for number, tag in (((1, 1), "u1"), ((1, 2), ""), ((1, 3), "u3")):
        held.opened(number, tag)
    ends = [wire.method(wire.CANCEL, "sb", tag, True) for tag in ("u1", "u3")]
    assert held.settled([(1, 1)]) == ends[0] + wire.method(wire.ACK, "Lb", 1, True)
    assert held.returned([(1, 3)]) == ends[1] + wire.method(wire.REJECT, "Lb", 3, True)
    assert held.settled([(1, 2)]) == wire.method(wire.ACK, "Lb", 2, True)


@for_each(
    ("seconds", "level"),
    [(0.0, 0), (0.001, 1), (1.0, 9), (60.0, 15), (31_536_000.0, 34), (1e12, LEVELS - 1)],
)
def test_a_delay_begins_at_its_highest_bit(seconds: float, level: int) -> None:
    exchange, key = Delays().place("a.queue", seconds)
    assert exchange == f"umbel.delay.{level}"
    bits, queue = key[: 2 * LEVELS], key[2 * LEVELS :]
    assert queue == "a.queue"
    delay = int(bits.replace(".", ""), 2)
    late = min(seconds * 1000 / 512, 256)
    assert seconds * 1000 <= delay <= seconds * 1000 + 1 + late or delay == 2**LEVELS - 1


@for_each("seconds", [0.0, 0.0005, 0.5, 1.023, 77.777, 239.9, 86_399.999, 1e8])
def test_a_long_delay_passes_few_queues_and_is_never_shorter(seconds: float) -> None:
    """Each bit is a queue that the server passes a message through: nine for 240 s to the millisecond."""
    _, key = Delays().place("a.queue", seconds)
    bits = key[: 2 * LEVELS].replace(".", "")
    delay = int(bits, 2)
    assert seconds * 1000 < delay <= seconds * 1000 + 1 + min(seconds * 1000 / 512, 256)
    coarsest = min(256, max(delay // 1024, 1))
    assert bits.rstrip("0").count("1") <= delay.bit_length() - coarsest.bit_length() + 1


def test_a_queue_whose_name_leaves_no_room_for_a_delay_is_refused() -> None:
    with pytest.raises(EncodeError, match="cannot wait"):
        Delays().place("q" * 200, 1.0)


def test_celerys_delay_is_taken_off_a_key() -> None:
    assert without_delay("0." * 27 + "1.a.b") == "a.b"
    assert without_delay("0.1.a") == "0.1.a"


def test_a_queue_is_declared_with_its_limits() -> None:
    queue = Queue("q", queue_arguments={"x-queue-type": "quorum"}, expires=1.5, max_priority=9)
    assert arguments_of(queue) == {
        "x-queue-type": "quorum",
        "x-expires": 1500,
        "x-max-priority": 9,
    }


@for_each(
    ("arguments", "version", "warned"),
    [
        ({}, (4, 0), False),
        ({"x-queue-type": "quorum"}, (3, 13), False),
        ({"x-queue-type": "quorum"}, (4, 0), True),
        ({"x-queue-type": "quorum", "x-delivery-limit": 3}, (3, 10), True),
        ({"x-queue-type": "quorum", "x-delivery-limit": -1}, (4, 0), False),
        (
            {"x-queue-type": "quorum", "x-delivery-limit": 3, "x-dead-letter-exchange": "d"},
            (4, 0),
            False,
        ),
    ],
)
def test_a_queue_that_would_delete_messages_is_warned_of(
    arguments: dict[str, Any], version: tuple[int, ...], warned: bool
) -> None:
    assert bool(limit_warning(Queue("q", queue_arguments=arguments), version)) is warned


@for_each(
    ("headers", "properties", "said"),
    [
        ({}, {"correlation_id": "x" * 256}, "as correlation_id: it has 256 bytes, and 255 are"),
        ({}, {"reply_to": "é" * 128}, "as reply_to: it has 256 bytes"),
        ({"h" * 300: 1}, {}, "as hhhhhhhhhh"),
        ({"big": 2**70}, {}, "AMQP cannot carry this"),
    ],
)
def test_what_amqp_cannot_carry_is_named(
    headers: dict[str, Any], properties: dict[str, Any], said: str
) -> None:
    message = Message(headers, properties, b"")
    with pytest.raises(EncodeError, match=said):
        write(Publication("q", message, "tag"), FRAME_MAX)
