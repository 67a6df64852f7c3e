"""`make demo`: a busy minute in the book store, with a worker's child killed in the middle of it.

Starts the payment service, the mail server and a worker with two children, sends a few thousand
tasks, kills a child while it runs tasks, and at the end lets the services' own books say whether
anything was lost or done twice. Exit code 0 means: nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mailbox
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from types import FrameType
from typing import Any

from examples.bookstore import store, tasks
from examples.bookstore.screen import Check, Screen, View
from umbel import states

LONGEST = 55.0  # seconds after which the demo gives up
LOOK = 0.25  # seconds between two looks at everything
WELCOME_AFTER = 8.0  # seconds; a small demo does not wait for so long
KILL_AT = 0.4  # share of all tasks done
TASK = re.compile(r"(\w+)\[([0-9a-f-]{36})\]")  # a task's name and id, as logs show them


class GivenUp(Exception):
    """The demo cannot go on; the text says why."""


class Shop:
    """The processes of the demo, in a directory of their own."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.directory = directory
        self.diary = directory / "diary"
        self.maildir = directory / "mail"
        self.log = directory / "log"
        self._stack = stack
        self.payments, self.mail = "", ""
        self.worker: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Start everything. The stack ends it all in reverse order, however the demo ends."""
        self.diary.touch()
        self.payments = self._start_service("payments", "0")
        self.mail = self._start_service("mail", "0", str(self.maildir))
        os.environ.update(
            UMBEL_DATA_DIR=str(self.directory),
            XDG_RUNTIME_DIR=str(self.directory),  # where the worker keeps its locks
            BOOKSTORE_DIARY=str(self.diary),
            BOOKSTORE_PAYMENTS=self.payments,
            BOOKSTORE_MAIL=self.mail,
        )
        app = ("-A", "examples.bookstore.watched")
        self.worker = self._start("umbel", *app, "worker", "--concurrency", "2")
        self._stack.callback(tasks.app.close)

    def _start_service(self, *arguments: str) -> str:
        """Start a stand-in and return its address, which is its first line."""
        service = self._start("examples.bookstore.services", *arguments)
        assert service.stdout is not None  # noqa: S101 - it is a pipe
        address = service.stdout.readline().decode().strip()
        if not address:
            raise GivenUp(f"The service {arguments[0]} did not start.")
        return address

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a process that ends with its standard input, so that it never outlives the demo."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=log if module == "umbel" else subprocess.PIPE,
                stderr=log,
            )
        self._stack.callback(_end, process)
        return process

    def ask_payments(self, path: str) -> Any:
        """Return what the payment service answers to a GET."""
        connection = HTTPConnection(self.payments, timeout=5)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def mails(self) -> int:
        """Return how many mails were delivered."""
        return sum(1 for _ in (self.maildir / "new").iterdir())


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process: politely, then not. A worker lets its children end first."""
    if process.stdin is not None:
        process.stdin.close()
    for end, patience in ((process.terminate, 5.0), (process.kill, 5.0)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            end()
            process.wait(patience)
            return


class Demo:
    """One run of the demo."""

    def __init__(self, shop: Shop, screen: Screen) -> None:
        self.shop = shop
        self.screen = screen
        self.view = screen.view
        self.orders: dict[str, str] = {}  # order id → reader: what was sold, as the shop knows it
        self.welcome_after = max(2.0, min(WELCOME_AFTER, self.view.books / 250))
        self.killed: int | None = None
        self.restarted = False
        self.best_rate = 0.0
        self.interrupted: dict[str, str] = {}  # task id → name: what the killed child had begun
        self._ready = False
        self._killed_at = 0.0
        self._closing = threading.Event()
        self._read = {shop.diary: 0, shop.log: 0}
        self._kinds: set[str] = set()
        self._history: list[tuple[float, int]] = []

    # Watching

    def look(self) -> None:
        """Bring the view up to date: the queues' depths, the services' books, the worker's diary."""
        view = self.view
        depths = tasks.app.queues.depths().values()
        view.queued = sum(depth.ready for depth in depths)
        view.in_work = sum(depth.leased for depth in depths)
        view.scheduled = sum(depth.scheduled for depth in depths)
        dead = sum(depth.dead for depth in depths)
        view.done = max(0, view.sent - view.queued - view.in_work - view.scheduled - dead)
        view.payments = self.shop.ask_payments("/counts")
        view.mails = self.shop.mails()
        if self.killed is not None:
            self._hear_the_supervisor()
        for line in self._new_lines(self.shop.diary):
            what, pid, when, more = line.split("\t")
            self._take_in(what, int(pid), float(when), more)
        self._measure()
        self.screen.update()

    def _new_lines(self, path: Path) -> list[str]:
        """Return the lines that a file got since the last time."""
        with path.open("rb") as file:
            file.seek(self._read[path])
            text = file.read()
        complete = text[: text.rfind(b"\n") + 1]
        self._read[path] += len(complete)
        return complete.decode(errors="replace").splitlines()

    def _take_in(self, what: str, pid: int, when: float, more: str) -> None:
        """Take in one line of the worker's diary."""
        view, event = self.view, self.screen.event
        match what:
            case "started":
                view.children = sorted({*view.children, pid})
                if self.killed is not None and not self.restarted:
                    self.restarted = True
                    after = 1000 * (when - self._killed_at)
                    event(f"child {pid} took its place after {after:.0f} ms", "green")
            case "ready":
                self._ready = True
                event(f"worker ready: children {' and '.join(map(str, view.children))}")
            case "retried":
                view.retried += 1
                if more not in self._kinds and len(self._kinds) < 2:
                    self._kinds.add(more)
                    event(f"first retry after: {more}", "blue")
            case "failed":
                view.failed += 1
                event(f"failed: {more}", "bold red")

    def _hear_the_supervisor(self) -> None:
        """Show what the worker's log says of the killed child; note which tasks it had begun."""
        begun: dict[str, str] = {}
        for line in self._new_lines(self.shop.log):
            if f"pid {self.killed}" not in line:
                continue
            if found := TASK.search(line):
                begun[found[2]] = found[1]
            else:
                self.screen.event(f"worker: {line.split('] ', 1)[-1]}", "red")
        if begun:
            # Besides the running one, these are tasks that had ended without anyone knowing it yet.
            counts = Counter(begun.values()).items()
            names = ", ".join(f"{count} × {name}" for name, count in counts)
            self.screen.event(f"what it had begun runs again: {names}", "red")
            self.interrupted.update(begun)

    def _measure(self) -> None:
        """Work out tasks per second over the last second and a half."""
        view, now = self.view, self.screen.seconds
        self._history = [*self._history[-6:], (now, view.done)]
        then, before = self._history[0]
        view.rate = max(0.0, (view.done - before) / (now - then)) if now > then else 0.0
        self.best_rate = max(self.best_rate, view.rate)
        if view.sent:
            view.rates.append(view.rate)

    def watch_until(self, condition: Callable[[], bool], what: str) -> None:
        """Look a few times a second until something holds."""
        while not condition():
            worker = self.shop.worker
            if worker is not None and worker.poll() is not None:
                raise GivenUp(f"The worker ended with exit code {worker.returncode}.")
            if self.screen.seconds > LONGEST:
                raise GivenUp(f"Gave up after {LONGEST:.0f} s while waiting for {what}.")
            self.look()
            time.sleep(LOOK)
        self.look()

    # Acting

    def run(self) -> list[Check]:
        """Go through the whole story; return what must hold at its end."""
        view, event = self.view, self.screen.event
        self.watch_until(lambda: self._ready, "the worker")
        with ThreadPoolExecutor(1) as readers:
            business = readers.submit(self._do_business)
            try:
                event(f"readers sign up; their welcome mails are due in {self.welcome_after:.0f} s")
                self.watch_until(lambda: view.done >= KILL_AT * view.total, "tasks to be done")
                self._kill_a_child()
                self.watch_until(lambda: self._is_quiet(business), "the last tasks")
            finally:
                self._closing.set()
        event("all quiet; the sales report is computed")
        report = tasks.sales_report.delay()
        view.sent += 1
        self.watch_until(report.ready, "the sales report")
        self.watch_until(lambda: view.done >= view.total, "the end")
        return self._checks(report.get(timeout=5))

    def _do_business(self) -> None:
        """Be all readers: sign up, and open books. Runs beside the watching."""
        readers = [f"reader{number}" for number in range(self.view.readers)]
        for reader in readers:
            store.sign_up(reader, self.welcome_after)
            self.view.sent += 1
        titles = list(store.BOOKS)
        for number in range(self.view.books):
            if self._closing.is_set():
                return
            reader = readers[number % len(readers)]
            order, _ = store.open_book(reader, random.choice(titles))
            self.orders[order] = reader
            self.view.sent += 1

    def _is_quiet(self, business: Future[None]) -> bool:
        if business.done():
            business.result()  # raises what it raised
        view = self.view
        return business.done() and not view.queued + view.in_work + view.scheduled

    def _kill_a_child(self) -> None:
        """Kill a child that is in the middle of a task, as the kernel does when memory runs out."""
        self.killed, *self.view.children = self.view.children
        self._killed_at = time.monotonic()
        os.kill(self.killed, signal.SIGKILL)
        self.screen.event(f"killed child {self.killed} with SIGKILL while it ran tasks", "bold red")

    # The end

    def _checks(self, report: dict[str, Any]) -> list[Check]:
        """Compare what the shop sold with what the services have in their books."""
        view, shop = self.view, self.shop
        ledger = shop.ask_payments("/charges")["charges"]
        keys = [charge["key"] for charge in ledger]
        cents = sum(charge["cents"] for charge in ledger)
        expected = len(self.orders) * tasks.PRICE
        addresses = [mail["To"] for mail in mailbox.Maildir(shop.maildir)]
        welcome = {f"{reader}@readers.example" for reader in self.orders.values()}
        left = view.queued + view.in_work + view.scheduled
        dead = sum(depth.dead for depth in tasks.app.queues.depths().values())
        return [
            Check(
                "every book was paid for",
                len(self.orders) == view.books and set(keys) == set(self.orders),
                f"{len(set(keys)):,} charged, {len(self.orders):,} books opened",
            ),
            Check(
                "no one was charged twice",
                len(keys) == len(set(keys)) and cents == expected,
                f"{view.payments['repeated']} repeats took no money again",
            ),
            Check(
                "every welcome mail arrived once",
                set(addresses) == welcome and len(addresses) == len(welcome) == view.readers,
                f"{len(addresses):,} mails for {view.readers:,} readers",
            ),
            Check(
                "the sales report is right",
                report["cents"] == expected and report["sales"] == view.books,
                f"${report['cents'] / 100:,.2f}, bestseller {report['bestsellers'][0][0]}",
            ),
            Check(
                "nothing is lost or left over",
                not left and not dead and not view.failed,
                f"{left} waiting, {dead} dead letters, {view.failed} failed",
            ),
            self._check_of_the_killed(),
        ]

    def _check_of_the_killed(self) -> Check:
        """Tell whether the killed child was replaced and the tasks it had begun ran to their end."""
        states_now = [tasks.app.AsyncResult(task_id).state for task_id in self.interrupted]
        succeeded = states_now.count(states.SUCCESS)
        return Check(
            "interrupted tasks ran again",
            self.restarted and succeeded == len(states_now),
            f"{succeeded} of {len(states_now)} succeeded",
        )


def run_demo(books: int) -> int:
    """Run the demo; return its exit code."""
    readers = max(1, books // 20)
    screen = Screen(View(books=books, readers=readers, total=books + readers + 1))
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="bookstore-", ignore_cleanup_errors=True)
        )
        shop = Shop(Path(directory), stack)
        demo = Demo(shop, screen)
        try:
            with screen:
                shop.open()
                assert shop.worker is not None  # noqa: S101 - just started
                screen.view.supervisor = shop.worker.pid
                checks = demo.run()
        except GivenUp as reason:
            screen.complain(f"{reason} The last lines of the log:\n{_tail(shop.log)}")
            return 1
        finally:
            # What follows ends all processes, and shall not be interrupted by a second Ctrl+C.
            _on_interrupts(signal.SIG_IGN)
        seconds = screen.seconds
    good = all(check.holds for check in checks)
    words = (
        f"{screen.view.total:,} tasks in {seconds:.1f} s, at best {demo.best_rate:.0f}/s:"
        " nothing lost, nothing charged twice."
        if good
        else f"NOT AS PROMISED: not true that {' and '.join(c.what for c in checks if not c.holds)}."
    )
    screen.verdict(checks, words)
    return 0 if good else 1


def _on_interrupts(handler: signal.Handlers | Callable[[int, FrameType | None], Any]) -> None:
    """Let TERM and HUP do what Ctrl+C does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-25:])


def main() -> None:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.splitlines()[0])
    parser.add_argument("--books", type=int, default=2500, help="how many are opened (2500)")
    books = parser.parse_args().books
    if books < 100:
        parser.error("--books must be 100 or more: less is done before a child can be killed")
    _on_interrupts(signal.default_int_handler)
    try:
        sys.exit(run_demo(books))
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
