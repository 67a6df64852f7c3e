"""Settings of results: where they are kept, for how long, and in which form."""

from __future__ import annotations

from umbel.settings.declare import (
    anything,
    flag,
    format_names,
    mapping,
    number,
    seconds,
    serializer_name,
    store,
    text,
    transport,
    unused,
)


class Results:
    """Results."""

    result_backend = store(
        None,
        "Where results are kept. None: no results when broker_url is set, else the SQLite file of"
        " the project. disabled:// turns results off.",
    )
    result_backend_transport_options = transport({}, "Options of the result store's engine.")
    result_expires = seconds.or_none(
        86400.0,
        "Seconds that results are kept; None keeps them for ever.",
        old="CELERY_TASK_RESULT_EXPIRES",
    )
    result_failure_expires = seconds(
        None, "Seconds that failures are kept; None: as result_expires says."
    )
    result_extended = flag(
        False, "Results also say the task's name, arguments, retries, worker and queue."
    )
    result_serializer = serializer_name("json", "How results are written.")
    result_compression = text(
        None, "How results are compressed, as task_compression. None: not at all."
    )
    result_accept_content = format_names(
        None,
        "As accept_content, for results. None: what accept_content says.",
        old="RESULT_ACCEPT_CONTENT",
    )
    result_persistent = flag(
        None,
        "Result messages of rpc:// survive the broker's restart.",
    )
    result_cache_max = unused(
        -1,
        "Results are kept by whoever holds their AsyncResult, and by nobody else.",
        old="CELERY_MAX_CACHED_RESULTS",
    )
    result_exchange = unused(
        "celeryresults", "It belonged to a result backend that Celery removed."
    )
    result_exchange_type = unused("direct", "It belonged to a result backend that Celery removed.")
    result_chord_expires = seconds(
        None,
        "Seconds that a chord's counters are kept after each result of its header; None: a week, or as long"
        " as results if that is longer.",
    )
    result_chord_join_timeout = seconds(
        3.0,
        "Seconds that a result backend of Celery's kind may take to read the results of a chord's header."
        " With stores of umbel's own they come with its parts.",
    )
    result_chord_retry_interval = seconds(
        1.0,
        "Seconds between two looks of celery.chord_unlock, which only Celery's workers send: here the last"
        " task of a chord's header starts the body.",
    )
    result_backend_always_retry = flag(
        False,
        "A backend of Celery's kind tries again by itself what it knows to be safe. Workers try in any case,"
        " for as long as the delivery's lease can be kept.",
    )
    result_backend_max_retries = number(
        float("inf"), "How often a backend of Celery's kind tries again by itself."
    )
    result_backend_base_sleep_between_retries_ms = unused(
        10, "Pauses grow from 0.1 s to a few seconds."
    )
    result_backend_max_sleep_between_retries_ms = unused(
        10000, "Pauses grow from 0.1 s to a few seconds."
    )
    result_backend_thread_safe = flag(
        False, "Threads share a backend of Celery's kind; else each has its own."
    )
    override_backends = mapping(
        {}, "Backends of Celery's kind by the name that result_backend has, each as module:Class."
    )


class Database:
    """The SQLAlchemy result store."""

    database_url = text(None, "URL of the database.", old="CELERY_RESULT_DBURI")
    database_engine_options = mapping(
        {"pool_pre_ping": True, "pool_recycle": 3600},
        "Options of SQLAlchemy's engine.",
        old="CELERY_RESULT_ENGINE_OPTIONS",
    )
    database_engine_callback = anything(
        None,
        "Called with SQLAlchemy's engine when it is made.",
        old="DATABASE_ENGINE_CALLBACK",
    )
    database_short_lived_sessions = flag(
        False,
        "Each call has a session of its own.",
        old="CELERY_RESULT_DB_SHORT_LIVED_SESSIONS",
        unused="Each call always has.",
    )
    database_table_names = mapping(None, "Names of the tables.", old="CELERY_RESULT_DB_TABLENAMES")
    database_table_schemas = mapping(None, "Schemas of the tables.")
    database_create_tables_at_setup = flag(
        True, "Make missing tables.", unused="They are made when they are first needed."
    )
