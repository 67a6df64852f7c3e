"""The command line: ``umbel -A proj worker``. One file for each command."""

from __future__ import annotations

from umbel.cli.base import main as main
