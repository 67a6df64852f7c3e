"""From a result backend of Celery's kind to a result store: the one place where the two meet.

The worker stores through this before it acknowledges, as with any store that is not its broker; clients and
dashboards read through it, and wait by looking again and again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from typing import Any, NoReturn

from umbel import states
from umbel.backend import written
from umbel.backends.chords import CountsChords
from umbel.backends.interface import Backend
from umbel.backends.requests import told
from umbel.backends.transactions import one_step
from umbel.exceptions import ChordError, DecodeError, OperationalError, UmbelError
from umbel.ports import (
    Engine,
    Features,
    GroupOpening,
    GroupPart,
    ResultStore,
    ResultSubscription,
)
from umbel.records import (
    FixedForm,
    Form,
    ResultRecord,
    TaskResult,
    decode,
    decode_group,
    decode_part,
    encode_group,
)
from umbel.request import Request
from umbel.result_backend import Meta

logger = logging.getLogger("umbel.chords")

#: Seconds before the second look of whoever waits; they double up to the backend's own interval.
FIRST_PAUSE = 0.02
#: Seconds between two looks where the backend does not say.
INTERVAL = 0.5
#: How many times as long as a look takes comes between it and the next, while there is news each time.
REST = 3

#: What a value is at fault for, and not the store: it would be refused again.
_OF_VALUES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
)
#: The same by the names that Python's databases have for it (PEP 249).
_OF_DATA = frozenset({"DataError", "NotSupportedError"})


class BackendStore(ResultStore):
    """A result store over a backend of Celery's kind; `make` makes one.

    Each thread has a backend of its own, as in Celery, unless ``result_backend_thread_safe`` is set.
    """

    counts_parts = False

    def __init__(self, make: Callable[[], Any], form: Callable[[], Form], shared: bool) -> None:
        self._make = make
        self._form = form
        self._own: Any = _Shared() if shared else threading.local()
        #: Calls of chords whose results had been stored before: whoever did that told the backend.
        self._counted: set[str] = set()
        #: Those of which this process is telling it: it may not have answered.
        self._uncounted: set[str] = set()

    @property
    def backend(self) -> Any:
        """This thread's backend."""
        found = getattr(self._own, "backend", None)
        return self._own.__dict__.setdefault("backend", self._make()) if found is None else found

    def put(self, records: Sequence[ResultRecord]) -> None:
        """Store each; nobody knows more of its call than its document says."""
        self.put_of([(record, None) for record in records])

    def put_of(self, results: Sequence[tuple[ResultRecord, Any]]) -> None:
        """Store each with what the backend wants to know of its call."""
        with self._translated():
            for record, call in results:
                self._put(record, call)

    def _put(self, record: ResultRecord, call: Any) -> None:
        found = decode(record, _written(self._form()))
        step = None
        if record.ready and (call is None or getattr(call, "chord", None)):
            step = None if call is None else one_step(self.backend)
            if step is not None:
                self._uncounted.discard(record.task_id)  # what is stored is counted
            self._note_end(record.task_id)
        if record.state != states.SUCCESS and self._stays(record):
            return
        request = told(call, found)
        if (
            step is None
            or record.task_id not in self._uncounted
            or not self._store_and_count(step, record, found, request, call.chord)
        ):
            self._store(record, found, request)

    def _store(self, record: ResultRecord, found: TaskResult, request: Request) -> None:
        self.backend.store_result(
            record.task_id,
            found.result,
            record.state,
            traceback=found.traceback,
            request=request,
        )

    def _store_and_count(
        self,
        step: AbstractContextManager[Any],
        record: ResultRecord,
        found: TaskResult,
        request: Request,
        body: Any,
    ) -> bool:
        """Store a result and count it, both or neither; False where the backend itself fails at one of them.

        Then each is tried by itself: a result that cannot be stored is an error of its call, and one that
        cannot be counted lets the chord's body fail (`pass_on`).
        """
        try:
            with self._translated(), step:
                self._store(record, found, request)
                self._tell_end(request, body, record.state, found.result)
        except OperationalError:
            raise
        except Exception as error:  # noqa: BLE001 - code of others
            logger.debug("Storing and counting %s in one step failed: %r", record.task_id, error)
            return False
        self._uncounted.discard(record.task_id)
        self._counted.add(record.task_id)
        return True

    def _note_end(self, task_id: str) -> None:
        """Note that what may be a call of a chord has ended before, unless it was not counted then."""
        if task_id in self._uncounted:
            return
        found = self._read([task_id])[0].get(task_id)
        ended = found is not None and found["status"] in states.READY_STATES
        (self._counted if ended else self._uncounted).add(task_id)

    def _stays(self, record: ResultRecord) -> bool:
        """Tell whether what is stored stays, whatever this says."""
        found = self._read([record.task_id])[0].get(record.task_id)
        return found is not None and states.stays(found["status"], record.state)

    def get(
        self, task_ids: Collection[str], timeout: float | None = None
    ) -> dict[str, ResultRecord]:
        """Read each, or all at once where the backend can, with the patience that it has."""
        with self._translated():
            metas, unread = self._read(list(task_ids)) if task_ids else ({}, {})
        found = {
            task_id: ResultRecord(task_id, meta["status"], "", meta=meta)
            for task_id, meta in metas.items()
        }
        # Who waits for it is to hear of it, and nobody else.
        return found | {
            task_id: ResultRecord(task_id, states.FAILURE, "", unread=error)
            for task_id, error in unread.items()
        }

    def _read(self, task_ids: Sequence[str]) -> tuple[dict[str, Meta], dict[str, DecodeError]]:
        """Return what is stored for tasks, and why some of it cannot be read."""
        try:
            return self._metas(task_ids), {}
        except DecodeError as error:
            if len(task_ids) == 1:
                return {}, {task_ids[0]: error}
        metas: dict[str, Meta] = {}
        unread: dict[str, DecodeError] = {}
        for task_id in task_ids:
            some, why = self._read([task_id])
            metas |= some
            unread |= why
        return metas, unread

    def _metas(self, task_ids: Sequence[str]) -> dict[str, Meta]:
        backend = self.backend
        found: dict[str, Meta] | None = None
        if len(task_ids) > 1 and isinstance(backend, Backend):
            found = backend.metas(task_ids)
        if found is None:
            found = {name: backend.get_task_meta(name, cache=False) for name in task_ids}
        return {name: meta for name, meta in found.items() if meta["status"] != states.PENDING}

    def subscribe(self) -> ResultSubscription:
        """Look again and again."""
        return Polling(self.get, getattr(self.backend, "subpolling_interval", None) or INTERVAL)

    def forget(self, task_ids: Collection[str]) -> None:
        """Delete each."""
        with self._translated():
            for task_id in task_ids:
                self.backend.forget(task_id)

    def open_groups(self, openings: Sequence[GroupOpening]) -> None:
        """Tell the backend of chords that begin, each with the results of its header."""
        for opening in openings:
            with self._translated():
                self._begin(opening)

    def _begin(self, opening: GroupOpening) -> None:
        app = self.backend.app
        written = decode_group(opening.group, opening.document or "", _written(self._form()))
        header = app.result_from_tuple(written)
        body = app.signature({**(opening.body or {}), "chord_size": opening.size})
        try:
            self.backend.set_chord_size(opening.group, opening.size)
            self.backend.apply_chord((header.id, header.results), body)
        except Exception as error:
            # Who was killed, or heard no answer, begins it again: it is there.
            if "IntegrityError" not in _kinds(error):
                raise

    def extend_group(self, group: str, part: str) -> None:
        """Let a chord have one result more. Raises NotImplementedError where the backend cannot."""
        with self._translated():
            self.backend.add_to_chord(group, self.backend.app.AsyncResult(part))

    def pass_on(self, parts: Sequence[tuple[GroupPart, Mapping[str, Any]]]) -> None:
        """Tell the backend that calls of chords have ended, once of each.

        Of one whose result had been stored before nobody knows: who stored it may have died before it told.
        """
        for part, body in parts:
            if part.part in self._counted:
                self._counted.discard(part.part)
                with self._translated():
                    self._doubt(part, body)
                continue
            self._uncounted.add(part.part)
            try:
                with self._translated():
                    self._count(part, body)
            except OperationalError:
                raise
            except Exception as error:
                logger.exception("Chord %r raised: %r", part.group, error)
                callback = self.backend.app.signature(dict(body))
                self.backend.chord_error_from_stack(callback, ChordError(repr(error)))
            self._uncounted.discard(part.part)

    def _doubt(self, part: GroupPart, body: Mapping[str, Any]) -> None:
        """Tell the backend that a call may not have been counted, if it wants to know."""
        if isinstance(self.backend, CountsChords):
            self.backend.doubt_chord(part.group, body)

    def _count(self, part: GroupPart, body: Mapping[str, Any]) -> None:
        _, state, value = decode_part(part.document, self._form())
        ended = Request(id=part.part, group=part.group, group_index=part.index)
        self._tell_end(ended, body, state, value)

    def _tell_end(self, ended: Request, body: Any, state: str, value: Any) -> None:
        request = Request(
            id=ended.id,
            group=ended.group,
            group_index=ended.group_index,
            chord=body,
            called_directly=False,
        )
        self.backend.on_chord_part_return(request, state, value)

    def open_group(self, group: str, size: int, expires: float | None) -> None:
        """Raise NotImplementedError: a backend has to know the header's results, too."""
        self._no_parts()

    def add_parts(self, parts: Sequence[GroupPart]) -> list[bool]:
        """Raise NotImplementedError: what parts a chord has is known to the backend alone."""
        self._no_parts()

    def parts(self, group: str) -> list[str | bytes]:
        """Raise NotImplementedError."""
        self._no_parts()

    def close_group(self, group: str, claimant: str) -> bool:
        """Raise NotImplementedError."""
        self._no_parts()

    def save_group(self, group: str, document: str | bytes, expires: float | None) -> None:
        """Let the backend save the group; when it expires is the backend's to say."""
        written = decode_group(group, document, _written(self._form()))
        with self._translated():
            backend = self.backend
            backend.save_group(group, backend.app.result_from_tuple(written))

    def saved_group(self, group: str) -> str | bytes | None:
        """Return as a document what the backend restores."""
        with self._translated():
            found = self.backend.restore_group(group)
        return None if found is None else encode_group(written(found, self._form()), self._form())

    def forget_group(self, group: str) -> None:
        """Let the backend delete what it saved."""
        with self._translated():
            self.backend.delete_group(group)

    def _no_parts(self) -> NoReturn:
        raise NotImplementedError(
            f"The result backend {type(self.backend).__name__} counts the results of chords in its own way."
        )

    def cleanup(self) -> int:
        """Let the backend delete what expired, all at once; nobody says how much that was."""
        with self._translated():
            if not self.backend.supports_autoexpire:
                self.backend.cleanup()
        return 0

    def close(self) -> None:
        """Let this thread's backend give back what it holds."""
        found = getattr(self._own, "backend", None)
        self._own = _Shared() if isinstance(self._own, _Shared) else threading.local()
        if found is not None:
            found.process_cleanup()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise what a store raises: OperationalError where it may answer later, else the backend's own."""
        try:
            yield
        except UmbelError:
            raise
        except Exception as error:
            # Asked in any case: backends close their broken connections then.
            later = self.backend.exception_safe_to_retry(error)
            if not later and _is_refused(error):
                raise
            name = type(self.backend).__name__
            text = f"The result backend {name} failed: {type(error).__name__}: {error}"
            raise OperationalError(text) from error


class _Shared:
    """Holds the one backend of all threads."""


def _is_refused(error: Exception) -> bool:
    """Tell whether a backend refused a value, rather than not to have reached its server."""
    if isinstance(error, OSError):  # some are ValueErrors too
        return False
    return isinstance(error, _OF_VALUES) or not _kinds(error).isdisjoint(_OF_DATA)


def _kinds(error: Exception) -> frozenset[str]:
    """Return the names of an exception's classes."""
    return frozenset(kind.__name__ for kind in type(error).__mro__)


def _written(form: Form) -> Form:
    """Return the form in which our own documents are read, whatever may come from others."""
    return FixedForm(
        message_max_bytes=form.message_max_bytes,
        message_max_depth=form.message_max_depth,
        message_max_decompressed=form.message_max_decompressed,
        accept_content=("json", form.result_serializer),
        result_serializer=form.result_serializer,
    )


class Polling(ResultSubscription):
    """A subscription that looks for all at once, from time to time."""

    def __init__(
        self, get: Callable[[Collection[str]], Mapping[str, ResultRecord]], interval: float
    ) -> None:
        self._get = get
        self._interval = interval
        self._pause = FIRST_PAUSE
        self._rest = 0.0
        #: What was told last of each task that is listened for.
        self._wanted: dict[str, str | None] = {}
        self._interrupted = threading.Event()

    def add(self, task_ids: Collection[str], timeout: float | None = None) -> None:
        """Look for these too, soon."""
        self._wanted |= dict.fromkeys(task_ids)
        self._pause, self._rest = FIRST_PAUSE, 0.0

    def discard(self, task_ids: Collection[str]) -> None:
        """Look for these no more."""
        for task_id in task_ids:
            self._wanted.pop(task_id, None)

    def receive(self, timeout: float) -> dict[str, ResultRecord]:
        """Look until something is new."""
        end = monotonic() + timeout
        # Of thousands that come bit by bit, each look reads all that are left.
        if self._rest and self._interrupted.wait(min(self._rest, timeout)):
            self._interrupted.clear()
            self._rest = 0.0
            return {}
        while True:
            begun = monotonic()
            news = self._news()
            self._rest = min((monotonic() - begun) * REST, self._interval) if news else 0.0
            left = end - monotonic()
            if news or left <= 0 or self._interrupted.wait(min(self._pause, left)):
                self._interrupted.clear()
                return news
            self._pause = min(self._pause * 2, self._interval)

    def _news(self) -> dict[str, ResultRecord]:
        news = {}
        for task_id, record in self._get(list(self._wanted)).items():
            shown = repr(record.meta)  # two readings of one exception are not equal
            if self._wanted.get(task_id) == shown:
                continue
            news[task_id] = record
            if record.ready:
                del self._wanted[task_id]
            else:
                self._wanted[task_id] = shown
        return news

    def interrupt(self) -> None:
        """Wake the one who waits."""
        self._interrupted.set()

    def close(self) -> None:
        """Look for nothing."""
        self._wanted.clear()


#: Of an engine that is no broker.
_NO_BROKER = Features(
    shared=True,
    joint_results=False,
    atomic_settle=False,
    scheduling=False,
    fencing=False,
    leases=False,
    dedupes=False,
    remembers=0.0,
    counts=False,
    batch=1,
    priorities=1,
    peek=False,
    find=False,
)


class BackendEngine(Engine):
    """What stands behind a ``result_backend`` that names a class of Celery's kind: a result store only."""

    features = _NO_BROKER
    broker = queues = state = broadcast = None

    def __init__(self, kind: type[Backend], app: Any, url: str, address: str | None) -> None:
        self.url = url
        self._results = BackendStore(
            lambda: kind(app=app, url=address),
            lambda: app.conf.snapshot,
            shared=kind.threads_share or app.conf.snapshot.result_backend_thread_safe,
        )
        if kind.threads_share:
            _ = self._results.backend  # which says at once what of its settings cannot be

    @property
    def results(self) -> ResultStore:
        """The result store."""
        return self._results

    def close(self) -> None:
        """Let the backend give back what it holds."""
        self._results.close()
