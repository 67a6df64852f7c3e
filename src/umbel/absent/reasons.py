"""Why names are missing: how the sentence goes on that begins with the name."""

from __future__ import annotations

from collections.abc import Mapping

CHORDS = "is how Celery's backends count chords; here umbel.ports.ResultStore.add_parts does"
CONTROL = (
    "is part of remote control, which comes in a later version. The command `umbel queues` shows what"
    " waits"
)
EVENTS = (
    "is part of events, which come in a later version; the signals of umbel.signals tell of tasks"
)
STEPS = (
    "is part of Celery's worker from within; its signals, such as worker_ready, are the same here"
)
STORE = (
    "is how Celery's stores work within; a store of one's own implements umbel.ports.ResultStore"
)
WRITER = "is how Celery writes messages; they are written by umbel.writing.encode"
WIRE = "is kombu's; umbel talks to brokers through engines of its own"
FIXED = "has no meaning here: there is one class of that part"
EXCEPTION = "is raised by no part of umbel"
ERRORS = "is kombu's; what a broker raises is umbel.OperationalError here"
PLACE = "is kombu's; as_uri() says where the broker is"
WITHIN = "is a part of Celery's from within"
LOADERS = (
    "has no meaning here: there are no loaders. app.import_modules() imports the modules of the settings,"
    " and app.config_from_object reads settings"
)
ENTITY = (
    "is kombu's; here this is a declaration: app.amqp.queues has those that count, `umbel purge` empties"
    " queues, and app.send_task sends to them"
)
DICT_QUEUES = "is a dict's; app.amqp.queues is a mapping that belongs to its app"
DICT = "is a dict's; app.register_task and app.tasks.unregister change the app's tasks"
QUEUE_SETTINGS = "is a setting here: those that begin with task_default_ and task_create_missing_"
VERSION = "is Celery's version; umbel.__version__ is umbel's"
HELPER = "is a helper of Celery's from within"
OWN_LOG = "is a setting here: those that begin with worker_log_ and worker_task_log_"

#: What an app may be given in Celery and has no meaning here, as an argument or a subclass's attribute.
MEANINGLESS: Mapping[str, str] = {
    "loader": "there are no loaders: settings are read by config_from_object and by name",
    "amqp": "engines take the place of the AMQP class; they are chosen by URL",
    "events": "there is one kind of events",
    "control": "there is one kind of remote control",
}
#: Attributes by which subclasses of Celery's app say what it is made of.
HOOKS: Mapping[str, str] = {
    name: f"has no meaning here: {meaning}"
    for name, meaning in {
        **{f"{name}_cls": meaning for name, meaning in MEANINGLESS.items()},
        "backend_cls": "result stores are engines; they are chosen by URL",
        "registry_cls": "there is one kind of registry",
        "prepare_config": "settings are changed by app.conf, or by a receiver of app.on_configure",
    }.items()
}
