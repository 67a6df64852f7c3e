"""Helpers of tests that run beside workers: waiting for what happens elsewhere."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, NoReturn, TextIO

from umbel import states
from umbel.exceptions import OperationalError, TimeoutError
from umbel.result import AsyncResult

Caught = type[BaseException] | tuple[type[BaseException], ...]


class Sentinel(Exception):
    """It has not happened yet."""


class ManagerMixin:
    """What a `Manager` can do; classes that take it in have an `app`, and call `_init_manager`."""

    app: Any

    def _init_manager(
        self,
        block_timeout: float = 30 * 60.0,
        no_join: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        self.connerrors: Caught = (OperationalError,)
        self.block_timeout = block_timeout
        self.no_join = no_join

    def remark(self, s: str, sep: str = "-") -> None:
        """Print a line."""
        print(f"{sep}{s}", file=self.stdout)

    def warn(self, s: str) -> None:
        """Print a line on standard error."""
        print(s, file=self.stderr)

    def missing_results(self, r: Iterable[AsyncResult[Any]]) -> list[str]:
        """Return the ids of the results that are not there yet."""
        return [one.id for one in r if not one.ready()]

    # Waiting

    def wait_for(
        self,
        fun: Callable[..., Any],
        catch: Caught,
        desc: str = "thing",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        errback: Callable[..., object] | None = None,
        max_retries: int | None = 10,
        interval_start: float = 0.1,
        interval_step: float = 0.5,
        interval_max: float = 5.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> Any:
        """Call a function until it does not raise what `catch` names, and return what it returns.

        Raises that when the function was called ``max_retries + 1`` times.
        """

        def on_error(error: BaseException, intervals: Iterator[float], retries: int) -> float:
            interval = next(intervals)
            if emit_warning:
                self.warn(f"Still waiting for {desc}. Trying again in {interval:g} s: {error!r}")
            if errback is not None:
                errback(error, interval, retries)
            return interval

        return self.retry_over_time(
            fun,
            catch,
            args=args,
            kwargs=kwargs,
            errback=on_error,
            max_retries=max_retries,
            interval_start=interval_start,
            interval_step=interval_step,
            interval_max=interval_max,
            **options,
        )

    def retry_over_time(
        self,
        fun: Callable[..., Any],
        catch: Caught,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        errback: Callable[[BaseException, Iterator[float], int], float] | None = None,
        max_retries: int | None = None,
        interval_start: float = 2.0,
        interval_step: float = 2.0,
        interval_max: float = 30.0,
    ) -> Any:
        """Call a function until it does not raise what `catch` names, with growing pauses.

        `errback` is told of each error, with the pauses to come, and returns the next one.
        """
        intervals = (min(interval_start + n * interval_step, interval_max) for n in count())
        for retries in count():
            try:
                return fun(*args, **(kwargs or {}))
            except catch as error:
                if max_retries is not None and retries >= max_retries:
                    raise
                pause = next(intervals) if errback is None else errback(error, intervals, retries)
                self.app.clock.sleep(pause)
        return None

    def ensure_not_for_a_while(
        self,
        fun: Callable[..., Any],
        catch: Caught,
        desc: str = "thing",
        max_retries: int = 20,
        interval_start: float = 0.1,
        interval_step: float = 0.02,
        interval_max: float = 1.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> None:
        """Raise AssertionError when a function stops raising what `catch` names, within a few seconds."""
        try:
            self.wait_for(
                fun,
                catch,
                desc=desc,
                max_retries=max_retries,
                interval_start=interval_start,
                interval_step=interval_step,
                interval_max=interval_max,
                emit_warning=emit_warning,
                **options,
            )
        except catch:
            return
        raise AssertionError(f"It should not have happened: {desc}")

    def join(
        self, r: Any, propagate: bool = False, max_retries: int | None = 10, **kwargs: Any
    ) -> Any:
        """Return what a result, or each of several, has; a list also for one.

        Keywords are those of `get`. Raises AssertionError when `max_retries` tries ended with a timeout
        or without an answer of the broker.
        """
        if self.no_join:
            return None
        wanted = r if isinstance(r, Sequence) else getattr(r, "results", None) or [r]
        for _ in range(max_retries) if max_retries else count():
            try:
                return [one.get(propagate=propagate, **kwargs) for one in wanted]
            except TimeoutError as error:
                missing = self.missing_results(wanted)
                self.remark(
                    f"Still waiting for {len(missing)}/{len(wanted)}: {missing}: {error!r}", "!"
                )
            except self.connerrors as error:
                self.remark(f"join: the broker does not answer: {error!r}", "!")
        raise AssertionError(f"These tasks have no result: {self.missing_results(wanted)}")

    def true_or_raise(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what a function returns. Raises Sentinel when that is false."""
        return fun(*args, **kwargs) or _not_yet()

    # By results

    def assert_result_tasks_in_progress_or_completed(
        self,
        async_results: Sequence[AsyncResult[Any]],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be started or completed",
        **policy: Any,
    ) -> Any:
        """Wait until all tasks have started; those that do not end need ``task_track_started``."""
        return self.assert_task_state_from_result(
            self.is_result_task_in_progress, async_results, interval=interval, desc=desc, **policy
        )

    def assert_task_state_from_result(
        self, fun: Callable[..., Any], results: Any, interval: float = 0.5, **policy: Any
    ) -> Any:
        """Wait until ``fun(results, timeout=interval)`` is true. Raises Sentinel when it stays false."""
        asked = partial(self.true_or_raise, fun, results, timeout=interval)
        return self.wait_for(asked, (Sentinel,), **policy)

    @staticmethod
    def is_result_task_in_progress(results: Iterable[AsyncResult[Any]], **kwargs: Any) -> bool:
        """Tell whether all tasks have started, and none has failed."""
        return all(one.state in (states.STARTED, states.SUCCESS) for one in results)

    # By remote control

    def inspect(self, timeout: float = 3.0) -> Any:
        """Return what asks workers."""
        return self.app.control.inspect(timeout=timeout)

    def query_tasks(self, ids: Sequence[str], timeout: float = 0.5) -> Iterator[tuple[str, Any]]:
        """Ask workers for tasks; give each worker's name with its answer."""
        yield from (self.inspect(timeout).query_task(*ids) or {}).items()

    def query_task_states(self, ids: Sequence[str], timeout: float = 0.5) -> dict[str, set[str]]:
        """Ask workers for tasks; return ids by the state that a worker has of them."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for _, answer in self.query_tasks(ids, timeout=timeout):
            for task_id, (state, _) in answer.items():
                found[state].add(task_id)
        return found

    def assert_accepted(
        self,
        ids: Sequence[str],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be accepted",
        **policy: Any,
    ) -> Any:
        """Wait until workers run all these tasks, or ran them."""
        return self.assert_task_worker_state(
            self.is_accepted, ids, interval=interval, desc=desc, **policy
        )

    def assert_received(
        self,
        ids: Sequence[str],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be received",
        **policy: Any,
    ) -> Any:
        """Wait until workers have all these tasks, or ran them."""
        return self.assert_task_worker_state(
            self.is_received, ids, interval=interval, desc=desc, **policy
        )

    def assert_task_worker_state(
        self, fun: Callable[..., Any], ids: Sequence[str], interval: float = 0.5, **policy: Any
    ) -> Any:
        """Wait until ``fun(ids, timeout=interval)`` is true. Raises Sentinel when it stays false."""
        asked = partial(self.true_or_raise, fun, ids, timeout=interval)
        return self.wait_for(asked, (Sentinel,), **policy)

    def is_received(self, ids: Sequence[str], **kwargs: Any) -> bool:
        """Tell whether workers have all these tasks, or ran them."""
        return self._are_in(("reserved", "active", "ready"), ids, **kwargs)

    def is_accepted(self, ids: Sequence[str], **kwargs: Any) -> bool:
        """Tell whether workers run all these tasks, or ran them."""
        return self._are_in(("active", "ready"), ids, **kwargs)

    def _are_in(self, wanted: Sequence[str], ids: Sequence[str], timeout: float = 0.5) -> bool:
        found = self.query_task_states(ids, timeout=timeout)
        return set(ids) <= {one for state in wanted for one in found.get(state, ())}

    def wait_until_idle(self) -> None:
        """Delete what waits, and wait until no worker runs anything."""
        inspect = self.app.control.inspect()
        for queue in self.app.amqp.queues.consume_from:
            self.app.queues.purge(queue)
        self.wait_for(
            partial(self.true_or_raise, lambda: not any((inspect.active() or {}).values())),
            (Sentinel,),
            desc="workers to be idle",
            max_retries=None,
        )


def _not_yet() -> NoReturn:
    raise Sentinel


class Manager(ManagerMixin):
    """Helpers of tests for one app; keywords are those of `ManagerMixin._init_manager`."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        self.app = app
        self._init_manager(**kwargs)
