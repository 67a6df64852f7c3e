"""Modules of Celery's that are missing or elsewhere, names that modules lack, commands and variables."""

from __future__ import annotations

from collections.abc import Mapping

from umbel.absent.reasons import (
    CONTROL,
    EVENTS,
    EXCEPTION,
    HELPER,
    LOADERS,
    STEPS,
    STORE,
    VERSION,
    WITHIN,
)

#: Names of modules that are missing, by module.
ABSENT_FROM: Mapping[str, Mapping[str, str]] = {
    "umbel": {
        "maybe_patch_concurrency": "is for gevent and eventlet, for which umbel runs threads",
        **dict.fromkeys(
            ("SERIES", "VERSION", "VERSION_BANNER", "version_info", "version_info_t"), VERSION
        ),
    },
    "umbel.app": {
        "shared_task": "is umbel.shared_task",
        "bugreport": "is umbel.bugreport",
        **dict.fromkeys(
            ("app_or_default", "default_app"), "is umbel.current_app: the app, or who stands for it"
        ),
        **dict.fromkeys(
            (
                *("AppPickler", "disable_trace", "enable_trace", "pop_current_task"),
                "push_current_task",
            ),
            WITHIN,
        ),
    },
    "umbel.beat": {
        "BeatPidbox": CONTROL,
    },
    "umbel.utils": {"gen_task_name": "is app.gen_task_name here"},
    "umbel.utils.time": {"ffwd": HELPER},
    "umbel.utils.log": {
        **dict.fromkeys(("in_sighandler", "set_in_sighandler"), HELPER),
        **dict.fromkeys(
            ("get_multiprocessing_logger", "reset_multiprocessing_logger"),
            "is about billiard's logger, which umbel does not use",
        ),
    },
    "umbel.canvas": {"abstract": WITHIN},
    "umbel.exceptions": {
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
            EXCEPTION,
        ),
        "reraise": "has no meaning here: `raise error` does that",
    },
}

#: Why nothing moves messages from one broker to another, as ``celery migrate`` does.
MOVING = (
    "has no counterpart yet; send new calls to the new broker, and let"
    " `umbel -A proj -b OLD-URL worker` empty the old one"
)

#: Commands that are missing.
ABSENT_COMMANDS: Mapping[str, str] = {
    "amqp": (
        "is a shell of AMQP; `umbel list bindings` shows bindings, `umbel queues` what waits, and"
        " `umbel purge` deletes it"
    ),
    "control": (
        "is part of remote control, which comes in a later version; until then SIGTERM stops a worker, and"
        " it is started again with other options"
    ),
    "events": f"{EVENTS}, and the log of a worker with -l INFO says what became of each",
    "flower": (
        "is the dashboard, which comes in a later version; `umbel queues`, `umbel dead list` and the log say"
        " what goes on"
    ),
    "inspect": (
        "is part of remote control, which comes in a later version; `umbel queues` shows what waits and"
        " what workers hold, `umbel list tasks` the tasks, `umbel config` the settings"
    ),
    "logtool": (
        "is for the texts of Celery's logs; a handler of the logger umbel.trace gets the same facts as data"
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

#: Celery's modules of result backends for one kind of server each.
_BACKENDS = (
    "arangodb",
    "asynchronous",
    "azureblockblob",
    "cache",
    "cassandra",
    "consul",
    "cosmosdbsql",
    "couchbase",
    "couchdb",
    "dynamodb",
    "elasticsearch",
    "filesystem",
    "gcs",
    "mongodb",
    "redis",
    "rpc",
    "s3",
)

#: Modules that are not here under Celery's name, without its first part; each stands for those below it.
ABSENT_MODULES: Mapping[str, str] = {
    "app.amqp": "is umbel.amqp; its Queues is umbel.topology.Queues",
    "app.annotations": "is umbel.annotations",
    **dict.fromkeys(("app.autoretry", "app.routes"), f"{WITHIN}; umbel has parts of its own"),
    "app.trace": "is umbel.trace, as far as others put something in the place of its build_tracer",
    **dict.fromkeys(
        ("app.backends", *(f"backends.{name}" for name in _BACKENDS)),
        f"{STORE}, or subclasses those of umbel.backends.base",
    ),
    "backends.database": "is umbel.backends.tables, without models of SQLAlchemy's for its two tables",
    "app.base": "is umbel.app",
    "app.builtins": "has Celery's built-in tasks; here an app finds them by name, such as celery.map",
    "app.control": "is umbel.control, which has Control",
    **dict.fromkeys(("app.defaults", "app.utils"), "is umbel.settings; Settings is Config there"),
    **dict.fromkeys(("app.events", "events"), EVENTS),
    "app.log": "is umbel.log",
    "app.registry": "is umbel.registry; TaskRegistry is Tasks there",
    "app.task": "is umbel.task; Context is umbel.request.Request",
    **dict.fromkeys(
        ("apps", "bin"),
        "is Celery's command line from within; app.worker_main(['worker', '-l', 'INFO']) starts a worker",
    ),
    **dict.fromkeys(("concurrency", "worker"), STEPS),
    "contrib.migrate": MOVING,
    "contrib.rdb": "has no counterpart; run the task with apply() under a debugger",
    "contrib.sphinx": "has no counterpart; a task has its function's docstring and signature",
    "loaders": LOADERS,
    **dict.fromkeys(
        (
            *("local", "platforms", "security.certificate", "security.key"),
            "security.serialization",
            *("security.utils", "utils.abstract", "utils.annotations", "utils.collections"),
            *("utils.debug", "utils.deprecated", "utils.graph", "utils.iso8601", "utils.objects"),
            *("utils.quorum_queues", "utils.saferepr", "utils.static", "utils.sysinfo"),
            *("utils.term", "utils.threads", "utils.timer2"),
        ),
        WITHIN,
    ),
    "utils.dispatch": "is umbel.signals, which has Signal",
}

_DEBUGGING = "is for those who look for mistakes in Celery itself"
_FOR_CHILDREN = "is how Celery's worker tells its children; here they have the settings"

#: Environment variables that Celery reads and umbel does not.
ABSENT_VARIABLES: Mapping[str, str] = {
    "CELERY_CONFIG_MODULE": "is CONFIG_MODULE, --config or app.config_from_object here",
    "CELERY_CUSTOM_WORKER_POOL": "has no counterpart; executors are umbel's own",
    "CELERY_LOADER": LOADERS,
    **dict.fromkeys(
        (
            *("CELERY_LOG_FILE", "CELERY_LOG_LEVEL", "CELERY_LOG_REDIRECT"),
            *("CELERY_LOG_REDIRECT_LEVEL", "FORKED_BY_MULTIPROCESSING", "MP_MAIN_FILE"),
        ),
        _FOR_CHILDREN,
    ),
    **dict.fromkeys(("CELERY_RDB_HOST", "CELERY_RDB_PORT"), "is about celery.contrib.rdb"),
    "CELERY_TRACE_APP": _DEBUGGING,
    **dict.fromkeys(
        ("CELERY_WORKER_REVOKES_MAX", "CELERY_WORKER_REVOKE_EXPIRES"),
        "has no meaning here: what is revoked is kept by the state store",
    ),
    **dict.fromkeys(
        ("CELERY_WORKER_SUCCESSFUL_EXPIRES", "CELERY_WORKER_SUCCESSFUL_MAX"),
        "is about worker_deduplicate_successful_tasks, which comes in a later version",
    ),
    **dict.fromkeys(
        (
            *("CELERY_BENCH", "CELERY_BENCH_EVERY", "C_BENCH", "C_BENCH_EVERY", "C_FAKEFORK"),
            *("C_IMPDEBUG", "C_REMDEBUG", "C_STRICT_APP", "C_WARN_APP", "C_WNOCONF", "MP_LOG"),
            *("EVENTLET_NOBLOCK", "ITERM_PROFILE", "TIMER_DEBUG", "NOSETPS", "USE_FAST_LOCALS"),
        ),
        _DEBUGGING,
    ),
    "TEST_BROKER": (
        "is read by start_worker of Celery, to connect once; here the worker connects to the app's broker"
    ),
}
