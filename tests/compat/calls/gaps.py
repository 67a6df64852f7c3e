"""In which cases umbel does not give what Celery gives, and why: by design, not yet, or wrongly."""

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
SKIPPED = {"canvas": "umbel has no signatures yet"}


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
        " refused-nested-object refused-in-kwargs eager-object"
        " serializer-pickle-lambda serializer-yaml-object serializer-msgpack-object"
    ),
    "the text names the option and its value": (
        "countdown-text countdown-timedelta countdown-decimal countdown-nan expires-text-wrong"
        " expires-text-number expires-text-empty expires-timedelta expires-date expires-nan"
        " expires-list retry-policy-unknown retry-policy-list"
    ),
    "the text names the serializers that there are": "serializer-unknown serializer-content-type",
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
        "an unknown option is a mistake": "unknown-option misspelt-option custom-attribute",
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
        "such limits make no sense": "limit-negative limits-crossed",
        "no time is infinitely far": "countdown-infinite",
    },
    "ImproperlyConfigured": {
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
    "retry-object": Deliberate(
        "a retry is sent when the task has ended, so that is when it fails", paths=("notes.0",)
    ),
}

#: What umbel does not have yet. Each of these cases fails; one that does not is to be removed.
NOT_YET = _by_case(
    {
        "app.send_task": (
            "send-task send-task-nothing send-task-options send-task-expires send-task-routed"
            " send-task-routed-options send-task-route-name send-task-serializer"
            " send-task-ignore-result send-task-setting-ignored send-task-setting-limits"
            " send-task-setting-priority send-task-soft-over-hard send-task-known"
            " send-task-known-wrong-arguments send-task-known-given send-task-known-taken-back"
            " send-task-args-text send-task-kwargs-list send-task-object send-task-eager"
            " send-task-headers send-task-unknown-option send-task-none"
        ),
        "Queue and Exchange": (
            "exchange-object queues-topic queues-topic-and-key queues-key-of-another"
            " queues-exchange queues-missing-refused queues-routed queues-routed-key"
        ),
        "the options  and exchange_type": (
            "exchange-and-key exchange-of-task exchange-type-topic exchange-type-topic-and-queue"
            " queue-exchange-and-key route-exchange"
        ),
        "the settings task_default_exchange, _exchange_type and _routing_key": (
            "default-topic default-topic-and-key"
        ),
        "the setting task_create_missing_queues, and QueueNotFound": (
            "missing-queue-refused route-missing-queue-refused"
        ),
        "the setting task_create_missing_queue_exchange_type": "missing-queue-topic",
        "task_routes: routers by their dotted names": "route-path-missing",
        "the option route_name": "route-name",
        "delivery_mode": "delivery-mode-wrong",
        "stamps": "stamps stamps-many stamps-none retry-stamps-kept within-stamps",
        "options that are None or empty by default: connection, producer, router, link, chain": (
            "no-connection no-links"
        ),
        "the options add_to_parent, mandatory, timeout and confirm_timeout": (
            "add-to-parent within-add-to-parent mandatory timeout"
        ),
        "the options correlation_id, origin and replaced_task_nesting": (
            "correlation-id origin replaced-task-nesting"
        ),
        "properties of the message as options": "message-properties expiration",
        "options by their position": "too-many-positional",
        "writing protocol 1": (
            "protocol-1 protocol-1-times protocol-1-options protocol-1-limits protocol-3"
        ),
        "the setting task_annotations": "annotation annotation-of-all annotations-list",
        "the limits of the settings in messages": "limits-of-settings limits-of-settings-crossed",
        "shadow_name": "base-class-shadow-name shadow-name-option shadow-name-and-shadow",
        "app.register_task": "class-task",
        "app.Task": "base-of-app",
        "the app's argument strict_typing": "strict-typing-off",
        "Task.apply": "apply apply-fails apply-throws apply-retries",
        "the setting task_always_eager": "eager-delay eager-tuple eager-propagates",
    }
)

#: What umbel has and does otherwise than Celery. As in `NOT_YET`, each fails.
WRONG = _by_case(
    {
        "retry(throw=False) sends nothing unless the task raises what it returns": (
            "retry-not-thrown"
        ),
        "task_default_priority counts before the priority of task_routes": (
            "route-priority-and-default"
        ),
        "a  of task_routes is a pattern only if it has a *": "route-glob-question",
        "task_ignore_result is in the header ignore_result": "ignore-result-of-settings",
        "an option that is given as None takes back what the task says": (
            "expires-of-task-taken-back priority-none-of-call-and-task limit-of-task-taken-back"
            " queue-none-of-call-and-task ignore-result-none"
        ),
        "retry with both countdown and eta goes by the countdown": "retry-eta-and-countdown",
        "the text of MaxRetriesExceededError shows the arguments as a tuple": (
            "retry-no-more retry-no-more-of-call"
        ),
        "a list of arguments is shown as a list in argsrepr": "args-list",
        "a negative countdown is an eta in the past": "countdown-negative",
    }
)
