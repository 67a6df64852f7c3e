"""Settings of workers: processes, limits, leases, logs, and how others see and command them."""

from __future__ import annotations

from umbel.settings.declare import (
    anything,
    choice,
    flag,
    format_name,
    log_format,
    mapping,
    natural,
    path,
    seconds,
    text,
    unused,
)

_NO_CONTROL = "has no effect yet: workers take no remote commands"
_NO_EVENTS = "has no effect yet: events are not sent"
_NO_CONTROL_OF_BEAT = "has no effect yet: beat takes no remote commands"
_BY_CHILDREN = "Each child fetches its own messages, and only as many as it can run at once."
_SUPERVISED = "A child is replaced as soon as its process has ended; nothing waits for it."


class Workers:
    """Workers."""

    worker_concurrency = natural(
        None,
        "Number of child processes of prefork, and of tasks at a time in each process of threads and"
        " asyncio. None or 0: one for each CPU, and 100 for asyncio.",
    )
    worker_pool = choice(
        *("prefork", "solo", "threads", "asyncio", "gevent", "eventlet", "processes", "custom")
    )(
        "prefork",
        "What runs the tasks: prefork (child processes), threads, asyncio (an event loop), or solo (the"
        " worker process itself).",
    )
    worker_processes = natural(
        1, "Number of child processes of the executors threads and asyncio. 0: 1.", ours=True
    )
    worker_sync_threads = natural(
        8,
        "Number of threads in which the executor asyncio runs tasks that are not async. 0: 1.",
        ours=True,
    )
    worker_prefetch_multiplier = natural(
        0,
        "Most messages that a child holds at a time; 0 leaves it to the measured length of tasks.",
        celery=4,
        why="The worker holds what it can run in a few tens of milliseconds, no more.",
    )
    worker_max_tasks_per_child = natural(
        None,
        "How many tasks a child process runs before a new one takes its place. None or 0: any number.",
    )
    worker_max_memory_per_child = natural(
        None,
        "Kilobytes of memory at which a new child process takes the place of one, after its running task."
        " None or 0: it may take what it likes.",
    )
    db_reuse_max = natural(
        None,
        "In a Django project: tasks for which a database's connection is kept, whatever CONN_MAX_AGE says."
        " None or 0: it is kept as between requests.",
        old="CELERY_DB_REUSE_MAX",
    )
    worker_disable_rate_limits = flag(
        False,
        "Do not enforce rate limits.",
        old="CELERY_DISABLE_RATE_LIMITS",
    )
    worker_soft_shutdown_timeout = seconds(
        0.0,
        "Seconds that running tasks are given to end in a cold shutdown.",
    )
    worker_shutdown_timeout = seconds(
        None,
        "Seconds that running tasks are given to end in a warm shutdown; then they are returned to their"
        " queues, which counts as no crash. None: as long as they take.",
        ours=True,
    )
    worker_enable_soft_shutdown_on_idle = unused(
        False,
        "A worker without running tasks holds nothing to wait for: what is due later waits in the broker.",
    )
    worker_autoscaler = unused(
        "celery.worker.autoscale:Autoscaler",
        "It names a class of Celery's worker; --autoscale has a rule of its own here.",
    )
    worker_state_db = path(
        None, "File in which revoked ids are kept.", unused="They are kept by the broker's engine."
    )
    worker_lost_wait = unused(10.0, _SUPERVISED, old="CELERYD_WORKER_LOST_WAIT")
    worker_proc_alive_timeout = unused(4.0, _SUPERVISED)
    worker_pool_restarts = unused(
        False, "A restarted fork server always imports the app's modules again."
    )
    worker_pool_start_method = unused(
        "fork",
        "Children are forked from a clean process, or spawned where the app cannot be forked.",
    )
    worker_pool_putlocks = unused(True, _BY_CHILDREN)
    worker_eta_task_limit = unused(
        None, "Calls that are due later wait in the broker, not in the worker."
    )
    worker_enable_prefetch_count_reduction = unused(True, _BY_CHILDREN)
    worker_disable_prefetch = unused(False, _BY_CHILDREN)
    worker_deduplicate_successful_tasks = flag(
        False,
        "Do not run a redelivered task whose result says that it succeeded.",
        later="has no effect yet: a redelivered task runs again",
    )
    worker_cancel_long_running_tasks_on_connection_loss = unused(
        False,
        "A task outlives a lost connection: its lease is kept when the broker is back in time.",
    )
    worker_timer = unused(None, "The worker has no timer: what is due later waits in the broker.")
    worker_timer_precision = unused(
        1.0, "The worker has no timer: what is due later waits in the broker."
    )
    worker_consumer = unused("celery.worker.consumer:Consumer", "The worker has no such part.")
    worker_agent = unused(None, "The worker has no such part.")


class Probes:
    """Probes of workers."""

    worker_health_file = path(
        None,
        "File that says how the worker is, for umbel-health; %n, %h and %p are written out.",
        ours=True,
    )
    worker_health_port = natural(
        None,
        "Port at which the worker answers /livez and /readyz by HTTP; 0 leaves its number to the system.",
        ours=True,
    )
    worker_health_host = text(
        "0.0.0.0",  # noqa: S104 - whoever probes a container is outside of it
        "Address of that port.",
        ours=True,
    )
    worker_unready_after = seconds(
        10.0,
        "Seconds without an answer of the broker after which a worker is not ready.",
        ours=True,
    )


class Leases:
    """Leases and dead letters."""

    worker_lease_ttl = seconds(
        15.0,
        "Seconds after which the leases of a node that no longer renews them are taken over.",
        ours=True,
    )
    worker_max_deliveries = natural(
        3, "How many processes may die running a message before it is dead-lettered.", ours=True
    )
    worker_unknown_task_offers = natural(
        6,
        "How often a message whose task a worker does not know is offered again, to workers that may know it:"
        " after 1, 2, 4, … seconds, at most 60. Then it is dead-lettered.",
        ours=True,
    )
    worker_dead_letter_expires = seconds.or_none(
        7 * 86400.0, "Seconds that dead letters are kept; None keeps them for ever.", ours=True
    )


class Logs:
    """Logs."""

    worker_hijack_root_logger = flag(
        True, "Let the worker set up the root logger, in place of what was."
    )
    worker_log_format = log_format(
        "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s",
        "Format of the worker's log lines.",
    )
    worker_log_datefmt = text(None, "Format of the time in them, as time.strftime has it.")
    worker_task_log_format = log_format(
        "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s",
        "Format of the log lines of tasks' loggers, those of get_task_logger.",
    )
    worker_log_json = flag(
        False,
        "Write log lines as JSON, with what they say of tasks as fields; formats have no effect then.",
        ours=True,
    )
    worker_task_log_datefmt = text(None, "Format of the time in them.")
    worker_log_color = flag(
        None,
        "Colour log lines by level. True or None: on a terminal, unless NO_COLOR is set.",
    )
    worker_redirect_stdouts = flag(
        True, "What is printed in a worker goes to its log.", old="CELERY_REDIRECT_STDOUTS"
    )
    worker_redirect_stdouts_level = choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")(
        "WARNING", "The level of what was printed.", old="CELERY_REDIRECT_STDOUTS_LEVEL"
    )
    worker_logfile = path(
        None, "File to log to, as -f says; %n, %h and %i are written out. None: standard error."
    )


class Daemons:
    """Daemons."""

    worker_pidfile = path(
        None, "File for the process id of a worker, as --pidfile says; %n is the node's name."
    )
    worker_uid = anything(
        None,
        "User that a worker becomes, by name or number, once its app is there and before the modules of"
        " tasks are imported. --uid does so before the app is imported.",
    )
    worker_gid = anything(None, "Group that it becomes. None: the user's.")
    worker_umask = anything(
        None,
        "Mask of the modes of new files of a worker: a number, or an octal text such as '027'.",
    )
    worker_executable = path(
        None, "The Python to run.", unused="It is the Python that runs the command."
    )
    beat_logfile = path(
        None,
        "File to which beat logs, as -f says; %n, %h and %i are written out. None: standard error.",
    )
    beat_pidfile = path(
        None, "File for the process id of umbel beat, as --pidfile says; %n is its name."
    )
    beat_uid = anything(
        None,
        "User that umbel beat becomes, by name or number, once its app is there and before the modules of"
        " tasks are imported. --uid does so before the app is imported.",
    )
    beat_gid = anything(None, "Group that it becomes. None: the user's.")
    beat_umask = anything(
        None,
        "Mask of the modes of new files of umbel beat: a number, or an octal text such as '027'.",
    )
    beat_executable = path(
        None, "The Python to run.", unused="It is the Python that runs the command."
    )
    events_logfile = path(None, "Log to this file.", later=_NO_EVENTS)
    events_pidfile = path(None, "Write the process id into this file.", later=_NO_EVENTS)
    events_uid = anything(None, "User to become.", later=_NO_EVENTS)
    events_gid = anything(None, "Group to become.", later=_NO_EVENTS)
    events_umask = anything(None, "Mask of the modes of new files.", later=_NO_EVENTS)
    events_executable = path(None, "The Python to run.", later=_NO_EVENTS)


class Beat:
    """Beat."""

    beat_schedule = mapping({}, "The periodic tasks by name.")
    beat_name = text(
        None,
        "Whose schedule it is, where several apps share a state store: beats of one name take turns. None:"
        " the name that the app was made with.",
        ours=True,
    )
    beat_scheduler = text(
        "celery.beat:PersistentScheduler",
        "The class that keeps the schedule, or a package's name for it.",
    )
    beat_schedule_filename = path(
        "celerybeat-schedule",
        "File of Celery's beat, whose last runs are taken over once.",
    )
    beat_max_loop_interval = seconds(
        0, "Most seconds between looks at the schedule; 0 is what the scheduler says."
    )
    beat_sync_every = natural(0, "After how many tasks the schedule's state is stored; 0 is never.")
    beat_cron_starting_deadline = seconds(
        None, "How late, in seconds, a run of a crontab may be made up for; None is for ever."
    )
    beat_enable_remote_control = flag(
        False, "Beat answers remote commands.", later=_NO_CONTROL_OF_BEAT
    )
    beat_remote_control_max_tick_age = seconds(
        None, "Seconds without a tick after which beat calls itself ill.", later=_NO_CONTROL_OF_BEAT
    )


class Monitoring:
    """Events and remote control."""

    worker_send_task_events = flag(
        False, "Send an event for each step of a task.", old="CELERY_SEND_EVENTS", later=_NO_EVENTS
    )
    worker_enable_remote_control = flag(
        True, "Take remote commands.", old="CELERY_ENABLE_REMOTE_CONTROL", later=_NO_CONTROL
    )
    event_queue_ttl = seconds.or_none(
        5.0, "Seconds that an event waits for its receiver.", later=_NO_EVENTS
    )
    event_queue_expires = seconds.or_none(
        60.0, "Seconds after which a queue of events without receiver is removed.", later=_NO_EVENTS
    )
    event_queue_prefix = text("celeryev", "How names of queues of events begin.", later=_NO_EVENTS)
    event_queue_exclusive = flag(True, "A queue of events has one receiver.", later=_NO_EVENTS)
    event_queue_durable = flag(
        False, "Queues of events survive the broker's restart.", later=_NO_EVENTS
    )
    event_serializer = format_name("json", "How events are written.", later=_NO_EVENTS)
    event_exchange = text("celeryev", "The exchange of events.", later=_NO_EVENTS)
    control_exchange = text("celery", "The exchange of remote commands.", later=_NO_CONTROL)
    control_queue_ttl = seconds.or_none(
        300.0, "Seconds that a command waits for its worker.", later=_NO_CONTROL
    )
    control_queue_expires = seconds.or_none(
        10.0,
        "Seconds after which a queue of commands without worker is removed.",
        later=_NO_CONTROL,
    )
    control_queue_exclusive = flag(True, "A queue of commands has one worker.", later=_NO_CONTROL)
    control_queue_durable = flag(
        False, "Queues of commands survive the broker's restart.", later=_NO_CONTROL
    )


class Security:
    """Signed messages."""

    security_key = path(
        None, "File of the private key that signs messages; see app.setup_security."
    )
    security_key_password = anything(None, "Password of that key.")
    security_certificate = path(None, "File of the certificate that goes with it.")
    security_cert_store = path(
        None, "Directory of the certificates to trust, or a pattern of their files' names."
    )
    security_digest = text("sha256", "The digest of signatures.")


class Strictness:
    """The settings themselves."""

    strict_settings = flag(
        False, "Raise for unknown settings instead of keeping them for plugins.", ours=True
    )
    umbel_compat = choice("umbel", "celery")(
        "umbel",
        "Whose defaults count where a setting is not written. celery: Celery's, also where umbel"
        " has safer ones.",
        ours=True,
    )
