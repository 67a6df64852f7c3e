"""`make demo`: a minute in the book store, with a child killed and a worker restarted meanwhile.

Starts the payment service, the mail server, the web site and a worker, lets a crowd of readers open books
over HTTP, and at the end lets the services' own books say whether anything was lost or done twice. Exit
code 0 means: nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from demo.screen import Screen, View
from demo.shop import GivenUp, Shop
from demo.story import RACES, Demo

WELCOME_AFTER = 5.0  # seconds; a small demo does not wait for so long
FEWEST = 40  # readers; with less, all is done before a child can be killed


def run_demo(readers: int) -> int:
    """Run the demo; return its exit code."""
    reloads = readers // 10
    welcome_after = max(2.0, min(WELCOME_AFTER, readers / 200))
    total = 2 * readers + reloads + 2 * RACES + 1
    screen = Screen(View(readers=readers, total=total, welcome_after=welcome_after))
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="bookstore-", ignore_cleanup_errors=True)
        )
        shop = Shop(Path(directory), stack)
        try:
            with screen:
                shop.open(welcome_after)
                demo = Demo(shop, screen)
                checks = demo.run()
        except GivenUp as reason:
            lines = shop.logs().splitlines()[-25:]
            screen.complain("\n".join([f"{reason} The last lines of the logs:", *lines]))
            return 1
        finally:
            # What follows ends all processes, and shall not be interrupted by a second Ctrl+C.
            _on_interrupts(signal.SIG_IGN)
        seconds = screen.seconds
    good = all(check.holds for check in checks)
    words = (
        f"{total:,} tasks in {seconds:.1f} s, at best {demo.best_rate:.0f}/s:"
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.splitlines()[0])
    parser.add_argument("--readers", type=int, default=1000, help="how many come (1000)")
    readers = parser.parse_args().readers
    if readers < FEWEST:
        parser.error(
            f"--readers must be {FEWEST} or more: less is done before a child can be killed"
        )
    _on_interrupts(signal.default_int_handler)
    try:
        sys.exit(run_demo(readers))
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
