"""Ctrl+Z in a worker: its processes stop only where that holds up nobody else.

A process that is stopped in the middle of a transaction keeps the lock of its SQLite file, and everybody
else waits for it.
"""

from __future__ import annotations

import _thread
import signal
import threading
from types import FrameType

from umbel.opened import at_rest


def pause_in_order() -> None:
    """Take TSTP from here on, unless it is ignored or the app has a handler of its own."""
    if not hasattr(signal, "SIGTSTP") or signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL:
        return
    pausing = threading.Lock()

    def pause() -> None:
        if not pausing.acquire(blocking=False):
            return
        try:
            with at_rest():
                # To this very thread: it is stopped, and all others with it, before it goes on.
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        finally:
            pausing.release()

    def hear(signum: int, frame: FrameType | None) -> None:
        # The main thread itself may be in a transaction, so it cannot wait for its end. And it may be in the
        # middle of starting a thread, whose locks are not to be asked for here.
        _thread.start_new_thread(pause, ())

    signal.signal(signal.SIGTSTP, hear)
