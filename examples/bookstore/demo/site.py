"""The shop's web site for as long as standard input lasts: `migrate`, then `runserver` on a free port."""

from __future__ import annotations

import os
import signal
import sys
import threading

from django.core.management import execute_from_command_line


def _end_with_the_demo() -> None:
    """End when the demo is gone, however it went."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us decides when we end
    threading.Thread(target=_end_with_the_demo, daemon=True).start()
    execute_from_command_line(["manage.py", "migrate", "--verbosity", "0"])
    execute_from_command_line(["manage.py", "runserver", "--noreload", "127.0.0.1:0"])
