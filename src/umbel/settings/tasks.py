"""Settings of tasks: how they are called, run, retried and acknowledged."""

from __future__ import annotations

from umbel.settings.declare import anything, flag, rate, retries, seconds, whole

_NO_EVENTS = "has no effect yet: events are not sent"


class Tasks:
    """Tasks."""

    task_acks_late = flag(
        True,
        "Acknowledge a message after its task ran (at least once), not before (at most once).",
        celery=False,
        why="A worker that dies must not take its tasks with it.",
    )
    task_reject_on_worker_lost = flag(
        True,
        "Run a task again when the process that ran it died.",
        celery=None,
        why="A worker that dies must not take its tasks with it; worker_max_deliveries bounds the"
        " tries.",
    )
    task_retry_on_worker_lost = flag(
        False,
        "Retry a task whose process died, as its retry() would and up to its max_retries, instead of"
        " running it again.",
    )
    task_acks_on_failure_or_timeout = flag(
        True,
        "Acknowledge a message whose task failed or ran out of time; else it is rejected.",
    )
    task_acks_on_failure = flag(
        None,
        "As task_acks_on_failure_or_timeout, for failures only; None: as that says.",
    )
    task_acks_on_timeout = flag(
        None,
        "As task_acks_on_failure_or_timeout, for time limits only; None: as that says.",
    )
    task_ignore_result = flag(False, "Store no results.")
    task_store_errors_even_if_ignored = flag(
        False, "Store failures even of tasks whose results are ignored."
    )
    task_track_started = flag(False, "Store the state STARTED when a task starts.")
    task_publish_retry = flag(
        True,
        "Try again when the broker cannot be reached, up to broker_publish_timeout.",
        old="CELERY_TASK_PUBLISH_RETRY",
    )
    task_publish_retry_policy = retries(
        {"max_retries": None, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
        "How often, and after how many seconds, a publish is tried again; max_retries None: as often"
        " as broker_publish_timeout allows.",
        old="CELERY_TASK_PUBLISH_RETRY_POLICY",
        celery={"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
        why="A broker that restarts refuses four tries within a second.",
    )
    task_time_limit = seconds(
        None,
        "Seconds after which the child process that runs a task is killed. None or 0: never.",
        old="CELERYD_TASK_TIME_LIMIT",
    )
    task_soft_time_limit = seconds(
        None,
        "Seconds after which SoftTimeLimitExceeded is raised in a task. None or 0: never.",
        old="CELERYD_TASK_SOFT_TIME_LIMIT",
    )
    task_default_rate_limit = rate(
        None,
        "How many calls of a task a worker may start in a time, such as 10/m. None or 0: any number.",
    )
    task_annotations = anything(
        None,
        "Attributes to set on tasks: a mapping of names (or *) to mappings, or a list of such.",
    )
    task_always_eager = flag(
        False,
        "Run tasks where they are called instead of sending them.",
    )
    task_eager_propagates = flag(
        False,
        "A task that is run where it is called raises its exception there.",
        old="CELERY_EAGER_PROPAGATES_EXCEPTIONS",
    )
    task_store_eager_result = flag(
        False,
        "Store the results of tasks that were run where they were called.",
    )
    task_remote_tracebacks = flag(
        False,
        "Raise results' exceptions with the worker's traceback.",
        unused="The worker's traceback is always a note of the exception that get() raises.",
    )
    task_repr_maxlevels = whole(
        3,
        "How deep nested arguments are shown in argsrepr and kwargsrepr.",
        old="CELERY_REPR_MAXLEVELS",
    )
    task_send_sent_event = flag(
        False, "Send an event for each call.", old="CELERY_SEND_TASK_SENT_EVENT", later=_NO_EVENTS
    )
    task_allow_error_cb_on_chord_header = flag(
        False,
        "A chord's errback is also called for each failed task of its header.",
    )
