"""Names of Celery's interface that umbel does not have: each says why, and what to do, when it is used.

They are absent to ``hasattr``, as what is not there should be, and to type checkers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

_WORKFLOWS = (
    "is part of workflows (signatures, chains, groups, chords), which come in a later version. Until then,"
    " send the next call from within the task"
)
_CONTROL = (
    "is part of remote control, which comes in a later version. The command `umbel queues` shows what"
    " waits"
)
_REVOKE = (
    "is part of remote control, which comes in a later version. Send calls that may become pointless with"
    " `expires`, or empty their queue with `umbel purge`"
)
_EVENTS = (
    "is part of events, which come in a later version; the signals of umbel.signals tell of tasks"
)
_BEAT = "is part of periodic tasks, which come in a later version; call `umbel call` from cron until then"
_STEPS = (
    "is part of Celery's worker from within; its signals, such as worker_ready, are the same here"
)
_STORE = (
    "is how Celery's stores work within; a store of one's own implements umbel.ports.ResultStore"
)
_WRITER = "is how Celery writes messages; they are written by umbel.message.encode"
_WIRE = "is kombu's; umbel talks to brokers through engines of its own"
_FIXED = "has no meaning here: there is one class of that part"
_EXCEPTION = "is raised by no part of umbel"

#: By class, the names that are missing, and the sentence that goes on with each.
ABSENT: Mapping[str, Mapping[str, str]] = {
    "Umbel": {
        **dict.fromkeys(("GroupResult", "ResultSet", "canvas", "signature"), _WORKFLOWS),
        "control": _CONTROL,
        "events": _EVENTS,
        **dict.fromkeys(("Beat", "add_periodic_task"), _BEAT),
        "steps": _STEPS,
        **dict.fromkeys(
            ("Worker", "WorkController"),
            "is Celery's worker as an object; app.worker_main(['worker', '-l', 'INFO']) starts one",
        ),
        "loader": (
            "has no meaning here: there are no loaders. app.import_modules() imports the modules of the"
            " settings, and app.config_from_object reads settings"
        ),
        "subclass_with_self": "has no meaning here: objects know their app, classes need not",
        "type_checker": "has no meaning here: the option typing says whether arguments are checked",
        "create_task_cls": "has no meaning here: app.Task is the class of the app's tasks",
    },
    "Task": {
        **dict.fromkeys(
            (
                *("s", "si", "signature", "subtask", "map", "starmap", "chunks", "replace"),
                *("add_to_chord", "on_replace", "signature_from_request", "subtask_from_request"),
            ),
            _WORKFLOWS,
        ),
        **dict.fromkeys(
            ("Strategy", "start_strategy", "Request"),
            "is part of Celery's worker from within; handlers such as before_start are the same here",
        ),
        "add_around": "has no meaning here; override __call__ in a class of your own and name it as base=",
        "request_stack": "has no meaning here: push_request and pop_request begin and end a call",
        "from_config": "has no meaning here: settings are looked up when they are needed",
        "bind": "has no meaning here: @app.task and app.register_task bind a task to an app",
    },
    "AsyncResult": {
        **dict.fromkeys(("revoke", "revoke_by_stamped_headers"), _REVOKE),
        "on_ready": "has no meaning here: result.then(callback) is told of the end",
        "supports_native_join": "has no meaning here: one subscription hears of any number of results",
    },
    "AMQP": {
        **dict.fromkeys(
            (
                *("Connection", "BrokerConnection", "Consumer", "Producer", "TaskConsumer"),
                *("producer_pool", "publisher_pool"),
            ),
            _WIRE,
        ),
        **dict.fromkeys(
            (
                *("as_task_v1", "as_task_v2", "create_task_message", "send_task_message"),
                *("task_protocols", "utc", "argsrepr_maxsize", "kwargsrepr_maxsize"),
            ),
            _WRITER,
        ),
        **dict.fromkeys(("autoexchange", "queues_cls"), _FIXED),
    },
    "Backend": {
        **dict.fromkeys(
            (
                *("add_to_chord", "apply_chord", "on_chord_part_return", "fallback_chord_unlock"),
                *("set_chord_size", "ensure_chords_allowed", "chord_error_from_stack"),
                *("save_group", "restore_group", "delete_group", "get_group_meta"),
                *("reload_group_result", "iter_native"),
            ),
            _WORKFLOWS,
        ),
        **dict.fromkeys(
            (
                *("client", "get", "mget", "set", "delete", "incr", "expire", "encode", "decode"),
                *("decode_result", "serializer", "retry_policy", "on_task_call"),
                *("current_task_children", "fail_from_current_stack", "wait_for_pending"),
            ),
            _STORE,
        ),
    },
    "Connection": dict.fromkeys(
        ("transport", "SimpleQueue", "SimpleBuffer", "Consumer", "Producer", "drain_events"), _WIRE
    ),
    "Channel": dict.fromkeys(
        (
            *("basic_publish", "basic_get", "basic_consume", "basic_ack", "exchange_declare"),
            *("queue_bind", "queue_delete"),
        ),
        _WIRE,
    ),
    "Producer": {
        "publish": f"{_WIRE}; send calls with app.send_task",
    },
}

#: Names of modules that are missing, by module.
ABSENT_FROM: Mapping[str, Mapping[str, str]] = {
    "umbel": {
        **dict.fromkeys(
            (
                *("Signature", "chain", "chord", "chunks", "group", "maybe_signature", "signature"),
                *("subtask", "xmap", "xstarmap"),
            ),
            _WORKFLOWS,
        ),
        "maybe_patch_concurrency": "is for gevent and eventlet; umbel has no such executors",
    },
    "umbel.result": dict.fromkeys(("GroupResult", "ResultSet"), _WORKFLOWS),
    "umbel.exceptions": {
        "ChordError": _WORKFLOWS,
        **dict.fromkeys(
            ("BackendError", "BackendGetMetaError", "BackendStoreError"),
            "is OperationalError here: of stores as of brokers",
        ),
        "InvalidTaskError": "is DecodeError here",
        "NotConfigured": "is ImproperlyConfigured here",
        **dict.fromkeys(
            (
                *("AlreadyRegistered", "CeleryCommandException", "DuplicateNodenameWarning"),
                *("FixupWarning", "SecurityWarning", "Terminated", "WorkerShutdown"),
                *("WorkerTerminate", "CDeprecationWarning", "CPendingDeprecationWarning"),
            ),
            _EXCEPTION,
        ),
        "reraise": "has no meaning here: `raise error` does that",
    },
}

#: Commands that are missing.
ABSENT_COMMANDS: Mapping[str, str] = {
    "amqp": (
        "is a shell of AMQP; `umbel list bindings` shows bindings, `umbel queues` what waits, and"
        " `umbel purge` deletes it"
    ),
    "beat": _BEAT,
    "control": (
        "is part of remote control, which comes in a later version; until then SIGTERM stops a worker, and"
        " it is started again with other options"
    ),
    "events": f"{_EVENTS}, and the log of a worker with -l INFO says what became of each",
    "graph": "has no meaning here: there are no bootsteps to draw",
    "inspect": (
        "is part of remote control, which comes in a later version; `umbel queues` shows what waits and"
        " what workers hold, `umbel list tasks` the tasks, `umbel config` the settings"
    ),
    "logtool": (
        "is for the texts of Celery's logs; a handler of the logger umbel.trace gets the same facts as data"
    ),
    "migrate": (
        "has no counterpart yet; send new calls to the new broker, and let"
        " `umbel -A proj -b OLD-URL worker` empty the old one"
    ),
    "multi": (
        "has no counterpart; let systemd, supervisord or containers start each node:"
        " `umbel worker -n mails@%h`"
    ),
    "status": (
        "is part of remote control, which comes in a later version; ask what has started the workers, and"
        " `umbel queues` for what they hold"
    ),
    "upgrade": (
        "has no meaning here: settings are read under their old names too, and `umbel config` shows what"
        " was read"
    ),
}


class NotThere(NotImplementedError, AttributeError):
    """A name of Celery's interface was used that umbel does not have; the text says what to do."""


class NotThereToImport(ImportError):
    """A name of one of Celery's modules was imported that umbel does not have."""


class _Absent:
    """A name of a class that raises NotThere; subclasses and instances may have it after all."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        self.__doc__ = None  # the reference lists what has words of its own

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise NotThere(f"{owner.__name__}.{self.name} {self.reason}.")


def tell_of_absent(kind: type[T]) -> type[T]:
    """Let a class say of the names of its table why they are missing."""
    for name, reason in ABSENT[kind.__name__].items():
        if not hasattr(kind, name):
            setattr(kind, name, _Absent(name, reason))
    return kind


def absent_from(module: str, name: str) -> Exception:
    """Return what a module raises for a name that it does not have."""
    reason = ABSENT_FROM[module].get(name)
    if reason is None:
        return AttributeError(f"module {module!r} has no attribute {name!r}")
    return NotThereToImport(f"{module}.{name} {reason}.", name=module)


def all_absent() -> list[tuple[str, Any]]:
    """Return all missing names with their reasons, for the documentation."""
    tables = {**ABSENT, **ABSENT_FROM}
    return [
        *(
            (f"{of}.{name}", reason)
            for of, table in tables.items()
            for name, reason in table.items()
        ),
        *((f"umbel {name}", reason) for name, reason in ABSENT_COMMANDS.items()),
    ]
