"""In which cases umbel does not give what Celery gives, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Properties that Celery writes and umbel never does.
UNREAD_PROPERTIES = {
    "origin": "an option that Celery spills into the properties; it is read from the headers",
    "argsrepr": "an option that Celery spills into the properties; it is read from the headers",
    "kwargsrepr": "an option that Celery spills into the properties; it is read from the headers",
    "immutable": "an option that Celery spills into the properties; nobody reads it",
    "expiration": "only RabbitMQ heeds it; workers go by the header `expires`",
}

#: Parts of Celery whose cases are left out until umbel begins with them.
SKIPPED: dict[str, str] = {}


@dataclass(frozen=True)
class Deliberate:
    """A difference by design.

    `raises` is the exception that umbel raises whatever Celery does; with `sends` umbel sends a message where
    Celery raises; else `paths` are what differs, all of it.
    """

    reason: str
    raises: str | None = None
    sends: bool = False
    paths: tuple[str, ...] = ("error.text",)


def _by_case(groups: Mapping[str, str]) -> dict[str, str]:
    """Turn a mapping of reasons to names into one of names to reasons."""
    return {name: reason for reason, names in groups.items() for name in names.split()}


#: The same class of exception with a text of our own.
_TEXTS = {
    "the text names the task and the argument at fault, and says what to do": (
        "refused-set refused-frozenset refused-bytearray refused-memoryview refused-timedelta"
        " refused-complex refused-range refused-generator refused-deque refused-fraction refused-enum"
        " refused-dataclass refused-object refused-model refused-class refused-function"
        " refused-exception refused-circle refused-too-deep refused-json-method-raises"
        " refused-tuple-key refused-enum-key refused-date-key refused-bytes-key"
        " refused-nested-object refused-in-kwargs eager-object send-task-object"
        " serializer-pickle-lambda serializer-yaml-object serializer-msgpack-object"
    ),
    "the text names the option and its value": (
        "countdown-text countdown-timedelta countdown-decimal countdown-nan expires-text-wrong"
        " expires-text-number expires-text-empty expires-timedelta expires-date expires-nan"
        " expires-list retry-policy-unknown retry-policy-list limits-of-task-crossed"
        " limits-of-settings-crossed"
    ),
    "the text names the serializers that there are": "serializer-unknown serializer-content-type",
    "the text names the queues that there are, and says what to do": (
        "missing-queue-refused route-missing-queue-refused queues-missing-refused"
    ),
    "the text says what was given instead": (
        "args-text args-generator args-set args-dict unchecked-args-text unchecked-args-number"
        " unchecked-kwargs-list send-task-args-text send-task-kwargs-list"
    ),
    "wrong arguments are told before Python stumbles over them": (
        "args-number kwargs-list kwargs-pairs task-of-number task-of-two"
    ),
    "`self` is no argument that a caller could give, so it is not counted": (
        "error-bound-too-many error-bound-self-named"
    ),
}

#: What Celery sends, or raises otherwise, and umbel refuses, by the exception.
_RAISES = {
    "TypeError": {
        "an unknown option is a mistake": (
            "unknown-option misspelt-option custom-attribute send-task-unknown-option"
        ),
        "a task has a name": "send-task-none",
        "True is no number of seconds": "countdown-true expires-true",
        "a value of the wrong type would only fail in the worker": (
            "eta-date eta-number eta-zero limit-text task-id-empty task-id-number headers-list"
            " headers-pairs queue-empty queue-number"
        ),
        "the task could not be called like that": "error-positional-only-named",
        "a lambda is a function": "error-of-lambda",
    },
    "ValueError": {
        "no broker has such a priority": "priority-256 priority-negative priority-text priority-float",
        "a time that nobody can read would only fail in the worker": "eta-text-empty eta-text-wrong",
        "such limits make no sense": "limit-negative limits-crossed send-task-soft-over-hard",
        "no time is infinitely far": "countdown-infinite",
        "a delivery mode has one of four names": "delivery-mode-wrong",
    },
    "Unroutable": {
        "nothing is bound there, so the message would be lost": (
            "exchange-object exchange-and-key exchange-of-task exchange-type-topic"
            " queue-exchange-and-key queues-topic-and-key queues-routed-key route-exchange"
            " default-topic-and-key"
        ),
    },
    "ImproperlyConfigured": {
        "the protocol has two versions": "protocol-3",
        "what a setting names must exist": "route-path-missing",
        "what a setting or an option names must exist": (
            "serializer-unknown-of-settings compression-unknown"
        ),
        "task_routes is checked, and the text says what it may be": (
            "route-expires route-time-limit route-unknown-option route-to-number"
        ),
    },
}

#: What Celery refuses and umbel sends.
_SENDS = {
    "any mapping will do": "kwargs-mapping",
    "a countdown that was computed may be long over": "countdown-far-negative",
    "a target of None is no route": "route-to-none",
    "a list of pairs can mean nothing else": "route-pairs",
    "whatever can be called can be a task": "name-of-lambda task-of-object task-of-partial",
}

DELIBERATE = {
    **{name: Deliberate(reason) for name, reason in _by_case(_TEXTS).items()},
    **{
        name: Deliberate(reason, raises=raises)
        for raises, groups in _RAISES.items()
        for name, reason in _by_case(groups).items()
    },
    **{name: Deliberate(reason, sends=True) for name, reason in _by_case(_SENDS).items()},
    "route-serializer": Deliberate(
        "a route counts more than task_serializer", paths=("body", "content_type")
    ),
    "route-priority-and-default": Deliberate(
        "a route counts more than task_default_priority", paths=("properties.priority",)
    ),
    **{
        name: Deliberate(
            "what task_queues declares is bound without a worker or a call that declares it",
            paths=("queues",),
        )
        for name in ("queues-key-of-another", "queues-exchange")
    },
    "retry-object": Deliberate(
        "a retry is sent when the task has ended, so that is when it fails", paths=("notes.0",)
    ),
}
