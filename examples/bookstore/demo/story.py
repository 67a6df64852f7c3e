"""One run of the demo: a race, a crowd, a child that is killed, a worker that is restarted, and the end."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from demo.crowd import Crowd
from demo.screen import Check, Screen
from demo.shop import GivenUp, Shop
from demo.verdict import Story, checks

T = TypeVar("T")

LONGEST = (
    120.0  # seconds after which the demo gives up; on a quiet machine it takes a quarter of that
)
LOOK = 0.25  # seconds between two looks at everything
TRIES = (
    400  # to find a child in the middle of a task; of one that never is, there is no more to show
)
KILL_AT, RESTART_AT = 0.35, 0.65  # shares of all tasks done
RACES = 12  # readers who write to the shop
REPORT = "bookstore.chat.tasks.send_conversations_details"
TASK = re.compile(r"([\w.]+)\[([0-9a-f-]{36})\]")  # a task's name and id, as logs show them


class Demo:
    """One run of the demo."""

    def __init__(self, shop: Shop, screen: Screen) -> None:
        self.shop = shop
        self.screen = screen
        self.view = screen.view
        assert shop.worker is not None  # noqa: S101 - it runs
        self.view.supervisor = shop.worker.pid
        self.best_rate = 0.0
        self._crowd = Crowd(shop.site)
        self._reports = 0
        self._killed: int | None = None
        self._killed_at = 0.0
        self._busy: set[int] = set()  # children that are in the middle of a task
        self._replaced = False
        self._interrupted: dict[str, str] = {}  # task id → name: what the killed child had begun
        self._ready = 0
        self._restarting = False
        self._read: dict[Path, int] = {}
        self._kinds: set[str] = set()
        self._history: list[tuple[float, int]] = []

    # Watching

    def look(self) -> None:
        """Bring the view up to date: the queues' depths, the services' books, the worker's diary."""
        view = self.view
        view.sent = self._crowd.calls + self._reports
        depths = self.shop.app.queues.depths().values()
        view.queued = sum(depth.ready for depth in depths)
        view.in_work = sum(depth.leased for depth in depths)
        view.scheduled = sum(depth.scheduled for depth in depths)
        dead = sum(depth.dead for depth in depths)
        view.done = max(0, view.sent - view.queued - view.in_work - view.scheduled - dead)
        view.payments = self.shop.ask_payments("/counts")
        view.mails = self.shop.mails()
        view.requests = self._crowd.requests
        if self._killed is not None:
            self._hear_the_supervisor()
        self._read_the_diary()
        self._measure()
        self.screen.update()

    def _read_the_diary(self) -> None:
        for line in self._new_lines(self.shop.diary):
            what, pid, when, more = line.split("\t")
            self._take_in(what, int(pid), float(when), more)

    def _new_lines(self, path: Path) -> list[str]:
        """Return the lines that a file got since the last time."""
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            text = file.read()
        complete = text[: text.rfind(b"\n") + 1]
        self._read[path] = self._read.get(path, 0) + len(complete)
        return complete.decode(errors="replace").splitlines()

    def _take_in(self, what: str, pid: int, when: float, more: str) -> None:
        """Take in one line of the worker's diary."""
        view, event = self.view, self.screen.event
        match what:
            case "started":
                view.children = sorted({*view.children, pid})
                if self._killed is not None and not self._replaced:
                    self._replaced = True
                    after = 1000 * (when - self._killed_at)
                    event(f"child {pid} took its place after {after:.0f} ms", "green")
            case "begins":
                self._busy.add(pid)
            case "ends":
                self._busy.discard(pid)
            case "ready":
                self._ready += 1
                event(f"worker ready: children {' and '.join(map(str, view.children))}")
            case "retried":
                view.retried += 1
                if more not in self._kinds and len(self._kinds) < 2:
                    self._kinds.add(more)
                    event(f"first retry after: {more}", "blue")
            case "raced":
                view.failed += 1
                view.raced += 1
            case "failed":
                view.failed += 1
                event(f"failed: {more}", "bold red")

    def _hear_the_supervisor(self) -> None:
        """Show what the worker's log says of the killed child; note which tasks it had begun."""
        begun: dict[str, str] = {}
        for line in self._new_lines(self.shop.worker_log):
            if f"pid {self._killed}" not in line:
                continue
            if found := TASK.search(line):
                begun[found[2]] = found[1].rpartition(".")[2]
            else:
                self.screen.event(f"worker: {line.split('] ', 1)[-1]}", "red")
        if begun:
            # Besides the running one, these are tasks that had ended without anyone knowing it yet.
            counts = Counter(begun.values()).items()
            names = ", ".join(f"{count} × {name}" for name, count in counts)
            self.screen.event(f"what it had begun runs again: {names}", "red")
            self._interrupted.update(begun)

    def _measure(self) -> None:
        """Work out tasks per second over the last second and a half."""
        view, now = self.view, self.screen.seconds
        self._history = [*self._history[-6:], (now, view.done)]
        then, before = self._history[0]
        view.rate = max(0.0, (view.done - before) / (now - then)) if now > then else 0.0
        self.best_rate = max(self.best_rate, view.rate)
        if view.sent:
            view.rates.append(view.rate)

    def _watch_until(self, condition: Callable[[], bool], what: str) -> None:
        """Look a few times a second until something holds."""
        while not condition():
            ended = self.shop.ended()
            if ended and not self._restarting:
                raise GivenUp(ended)
            if self.screen.seconds > LONGEST:
                raise GivenUp(f"Gave up after {LONGEST:.0f} s while waiting for {what}.")
            self.look()
            time.sleep(LOOK)
        self.look()

    def _watch(self, doing: Future[T], what: str) -> T:
        """Look until something is done; return what came of it."""
        self._watch_until(doing.done, what)
        return doing.result()

    # Acting

    def run(self) -> list[Check]:
        """Go through the whole story; return what must hold at its end."""
        self._watch_until(lambda: self._ready > 0, "the worker")
        with ThreadPoolExecutor(1) as acting:
            try:
                names = [f"reader{number}" for number in range(self.view.readers)]
                raced, cured = self._race(acting, names[:RACES])
                self._do_business(acting, names)
            finally:
                self._crowd.closing.set()
        self.screen.event("all quiet; beat sends the weekly report, now instead of on Monday")
        self.shop.schedule_now("the demo's report", REPORT)
        self._watch_until(lambda: bool(self.shop.reports()), "the weekly report")
        self._reports += 1  # beat sent it, and nobody here
        self._watch_until(lambda: self.view.done >= self.view.total, "the end of the report's task")
        charged, interrupted = self._crowd.charged, [*self._interrupted]
        return checks(
            Story(charged, raced, cured, interrupted, self._replaced), self.view, self.shop
        )

    def _race(self, acting: ThreadPoolExecutor, names: list[str]) -> tuple[list[int], list[int]]:
        """Let readers write to the shop in two ways; return the conversations of each."""
        crowd, event = self._crowd, self.screen.event
        self._watch(acting.submit(crowd.sign_up, names), "the first readers")
        event(f"{RACES} readers write; delay() sends for an answer before the commit")
        raced = self._watch(acting.submit(crowd.write, names, "race"), "readers who write")
        self._watch_until(self._has_nothing_to_do, "answers")
        failed = self.view.failed
        event(f"{failed} of {RACES} tasks failed: Conversation.DoesNotExist", "red")
        writing = acting.submit(crowd.write, names, "conversations")
        cured = self._watch(writing, "readers who write")
        self._watch_until(self._has_nothing_to_do, "answers")
        cured_failed = self.view.failed - failed
        event(f"{cured_failed} of {RACES} failed with delay_on_commit()", "green")
        self.view.race = (
            f"{failed} of {RACES} failed with delay(), {cured_failed} with delay_on_commit()"
        )
        return raced, cured

    def _do_business(self, acting: ThreadPoolExecutor, names: list[str]) -> None:
        """Let all readers come, and make trouble meanwhile."""
        crowd, view, event = self._crowd, self.view, self.screen.event
        event(
            f"{view.readers:,} readers come; welcome mails are due {view.welcome_after:.0f} s later"
        )
        business = acting.submit(self._let_all_read, names)
        self._watch_until(lambda: self._has_done(KILL_AT, business), "tasks to be done")
        self._kill_a_child()
        self._watch_until(lambda: self._has_done(RESTART_AT, business), "tasks to be done")
        self._restart_the_worker()
        self._watch(business, "the readers")
        self._watch_until(
            lambda: self._has_nothing_to_do() and not view.scheduled, "the last tasks"
        )
        assert len(crowd.charged) == view.readers  # noqa: S101 - nobody raised

    def _let_all_read(self, names: list[str]) -> None:
        """Let all sign up who have not, and open a book each. Runs beside the watching."""
        crowd = self._crowd
        books = crowd.books(names[0])
        crowd.read(names[:RACES], books)
        for first in range(RACES, len(names), 100):
            crowd.sign_up(names[first : first + 100])
            crowd.read(names[first : first + 100], books)

    def _has_done(self, share: float, business: Future[None]) -> bool:
        if business.done():
            business.result()  # raises what it raised
        return self.view.done >= share * self.view.total

    def _has_nothing_to_do(self) -> bool:
        return not self.view.queued + self.view.in_work

    def _kill_a_child(self) -> None:
        """Kill a child that is in the middle of a task, as the kernel does when memory runs out."""
        chosen, *others = self.view.children
        try:
            for _ in range(TRIES):
                os.kill(chosen, signal.SIGSTOP)
                self._read_the_diary()
                if chosen in self._busy:
                    break
                os.kill(chosen, signal.SIGCONT)
                time.sleep(LOOK / 50)
            self._killed, self.view.children = chosen, others
            self._killed_at = time.monotonic()
        finally:
            os.kill(chosen, signal.SIGKILL)
        self.screen.event(
            f"killed child {self._killed} with SIGKILL while it ran tasks", "bold red"
        )

    def _restart_the_worker(self) -> None:
        """Restart the worker as a deploy does, while readers go on opening books."""
        shop, view, event = self.shop, self.view, self.screen.event
        assert shop.worker is not None  # noqa: S101 - it runs
        self._watch_until(lambda: self._replaced, "the new child")
        event("restarting the worker; calls wait in the queue", "bold magenta")
        self._restarting = True
        shop.worker.terminate()
        self._watch_until(lambda: shop.ended() is not None, "the worker to end")
        view.children = []
        shop.start_worker()
        view.supervisor = shop.worker.pid
        self._restarting = False
        self._watch_until(lambda: self._ready > 1, "the new worker")
