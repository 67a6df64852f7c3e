"""Which module of umbel is which of Celery's, kombu's and billiard's; nothing else says it.

Chosen by what 43 public projects and packages import, as counted in docs/internals.md. A module of umbel's is
taken whole where it has the names that they import; else there is one of our own below ``umbel.alias``. Rows
may name what umbel does not have yet: such a module is missing, with the reason in ``umbel.absent``, until it
is there.
"""

from __future__ import annotations

from collections.abc import Mapping

from umbel.absent.reasons import STEPS, WIRE

_CELERY: Mapping[str, str] = {
    "celery": "umbel.alias.celery",
    "celery.__main__": "umbel.cli.as_celery",
    "celery._state": "umbel.alias.celery._state",
    "celery.app": "umbel.alias.celery.app",
    "celery.app.amqp": "umbel.amqp",
    "celery.app.annotations": "umbel.annotations",
    "celery.app.base": "umbel.app",
    "celery.app.control": "umbel.control",
    "celery.app.defaults": "umbel.alias.celery.app.defaults",
    "celery.app.events": "umbel.events",
    "celery.app.log": "umbel.log",
    "celery.app.registry": "umbel.registry",
    "celery.app.routes": "umbel.routes",
    "celery.app.task": "umbel.task",
    "celery.app.trace": "umbel.trace",
    "celery.app.utils": "umbel.alias.celery.app.utils",
    "celery.backends": "umbel.backends",
    "celery.backends.base": "umbel.backends.base",
    "celery.backends.database": "umbel.backends.tables",
    "celery.beat": "umbel.beat",
    "celery.bin": "umbel.alias.celery.bin",
    "celery.bin.base": "umbel.cli.plugins",
    "celery.bin.celery": "umbel.cli.as_celery",
    "celery.bootsteps": "umbel.bootsteps",
    "celery.canvas": "umbel.canvas",
    "celery.contrib": "umbel.contrib",
    "celery.contrib.abortable": "umbel.contrib.abortable",
    "celery.contrib.django": "umbel.contrib.django",
    "celery.contrib.django.task": "umbel.contrib.django.task",
    "celery.contrib.pytest": "umbel.contrib.pytest",
    "celery.contrib.testing": "umbel.contrib.testing",
    "celery.contrib.testing.app": "umbel.contrib.testing.app",
    "celery.contrib.testing.manager": "umbel.contrib.testing.manager",
    "celery.contrib.testing.mocks": "umbel.contrib.testing.mocks",
    "celery.contrib.testing.tasks": "umbel.contrib.testing.tasks",
    "celery.contrib.testing.worker": "umbel.contrib.testing.worker",
    "celery.events": "umbel.events",
    "celery.events.state": "umbel.events.state",
    "celery.exceptions": "umbel.exceptions",
    "celery.fixups": "umbel.fixups",
    "celery.fixups.django": "umbel.fixups.django",
    "celery.local": "umbel.alias.celery.local",
    "celery.platforms": "umbel.alias.celery.platforms",
    "celery.registry": "umbel.alias.celery.registry",
    "celery.result": "umbel.result",
    "celery.schedules": "umbel.schedules",
    "celery.security": "umbel.security",
    "celery.signals": "umbel.signals",
    "celery.states": "umbel.states",
    "celery.utils": "umbel.utils",
    "celery.utils.dispatch": "umbel.signals",
    "celery.utils.functional": "umbel.utils.functional",
    "celery.utils.imports": "umbel.utils.imports",
    "celery.utils.log": "umbel.utils.log",
    "celery.utils.nodenames": "umbel.utils.nodenames",
    "celery.utils.serialization": "umbel.utils.serialization",
    "celery.utils.text": "umbel.utils.text",
    "celery.utils.time": "umbel.utils.time",
    "celery.worker": "umbel.alias.celery.worker",
    "celery.worker.control": "umbel.worker.remote",
    "celery.worker.request": "umbel.alias.celery.worker.request",
}

_KOMBU: Mapping[str, str] = {
    "kombu": "umbel.alias.kombu",
    "kombu.common": "umbel.alias.kombu.common",
    "kombu.connection": "umbel.alias.kombu.connection",
    "kombu.entity": "umbel.entities",
    "kombu.exceptions": "umbel.alias.kombu.exceptions",
    "kombu.log": "umbel.utils.log",
    "kombu.messaging": "umbel.alias.kombu.messaging",
    "kombu.pools": "umbel.alias.kombu.pools",
    "kombu.serialization": "umbel.alias.kombu.serialization",
    "kombu.utils": "umbel.alias.kombu.utils",
    "kombu.utils.encoding": "umbel.alias.kombu.utils.encoding",
    "kombu.utils.functional": "umbel.utils.functional",
    "kombu.utils.imports": "umbel.utils.imports",
    "kombu.utils.json": "umbel.alias.kombu.utils.json",
    "kombu.utils.objects": "umbel.utils",
    "kombu.utils.url": "umbel.alias.kombu.utils.url",
    "kombu.utils.uuid": "umbel.utils",
}

_BILLIARD: Mapping[str, str] = {
    "billiard": "umbel.alias.billiard",
    "billiard.einfo": "umbel.alias.billiard.einfo",
    "billiard.exceptions": "umbel.exceptions",
    "billiard.pool": "umbel.worker.pool",
    "billiard.process": "umbel.alias.billiard.process",
    "billiard.util": "umbel.alias.billiard.util",
}

#: By the name that a module has in Celery, kombu or billiard: its name here.
TABLE: Mapping[str, str] = {**_CELERY, **_KOMBU, **_BILLIARD}

_PROGRAM = (
    f"{WIRE}. A program that uses kombu itself, and drains connections by itself, needs the real"
    " kombu: let it run in a process that does not take umbel for Celery"
)
_STATE = "is a variable of Celery's from within; current_task says which task runs"

#: Why a module has no row, or a row that names nothing yet, or why a package has no such name: where
#: umbel.absent does not say it under Celery's name.
ELSEWHERE: Mapping[str, str] = {
    "celery._state._task_stack": _STATE,
    "celery._state.get_current_worker_task": _STATE,
    "celery._state.connect_on_app_finalize": "is the signal app.on_after_finalize here",
    "celery.tests": "is no part of Celery since version 4",
    "celery.bin": "is a part of Celery's command line; umbel has its own",
    "celery.task": "is no part of Celery since version 5: use @app.task or @shared_task",
    "celery.five": "is no part of Celery since version 5",
    "celery.worker.control": STEPS,
    **dict.fromkeys(("celery.worker.WorkController", "celery.worker.state"), STEPS),
    "kombu": _PROGRAM,
    **dict.fromkeys(
        (
            *("kombu.connections", "kombu.eventloop"),
            *("kombu.parse_url", "kombu.producers", "kombu.common.collect_replies"),
            *("kombu.common.drain_consumer", "kombu.common.eventloop", "kombu.common.itermessages"),
            *("kombu.common.insured", "kombu.common.send_reply"),
            *("kombu.pools.connections", "kombu.pools.producers", "kombu.pools.set_limit"),
        ),
        _PROGRAM,
    ),
    "kombu.utils": "is a helper of kombu's from within",
    "billiard": "is billiard's; a worker's processes are umbel's own, and multiprocessing is Python's",
}
