"""``manage.py umbel``: umbel's command line for the project's own app."""

from __future__ import annotations

import os
import sys
from argparse import REMAINDER
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from umbel.contrib.django.finding import project_place
from umbel.exceptions import ImproperlyConfigured
from umbel.programs import main

#: Options of manage.py itself that take a value; it has heeded them.
_DJANGOS = ("--settings", "--pythonpath")


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """See the module's text."""

    help = "Run umbel's command line for this project's app: manage.py umbel worker -l INFO"
    requires_system_checks = ()

    def add_arguments(self, parser: Any) -> None:
        """Take all words as they are."""
        parser.add_argument("words", nargs=REMAINDER, help="What stands after `umbel`; try --help.")

    def run_from_argv(self, argv: Sequence[str]) -> None:
        """Hand the words on before Django's own options are looked for among them."""
        try:
            run(_without_djangos(argv[2:]), Path(argv[0]))
        except ImproperlyConfigured as error:
            self.stderr.write(f"Error: {error}")
            sys.exit(2)

    def handle(self, *args: str, words: Sequence[str] = (), **options: Any) -> None:
        """Run as ``call_command("umbel", "queues")`` does. Raises CommandError where the command fails."""
        try:
            run([*args, *words], None)
        except ImproperlyConfigured as error:
            raise CommandError(str(error), returncode=2) from error
        except SystemExit as end:
            if end.code:
                text = f"umbel {' '.join([*args, *words])} ended with exit code {end.code}."
                raise CommandError(text, returncode=end.code) from end


def run(words: list[str], program: Path | None) -> None:
    """Run a command for the project's app, or for the one that -A names; ends with SystemExit."""
    if program is not None:
        directory = program.absolute().parent
        _let_processes_import(directory)
        if words[:1] == ["dev"]:  # the code to watch is there, wherever this is called from
            os.chdir(directory)
    named = any(word == "-A" or word.startswith("--app") for word in words)
    main(words if named else ["-A", project_place(), *words])


def _without_djangos(words: Sequence[str]) -> list[str]:
    """Return the words without the options of manage.py, up to ``--``."""
    left: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*left, word, *rest]
        if word in _DJANGOS:
            next(rest, None)
        elif not word.startswith(tuple(f"{name}=" for name in _DJANGOS)):
            left.append(word)
    return left


def _let_processes_import(directory: Path) -> None:
    """Let a worker's processes import what this one can, by the directory that manage.py is in."""
    if str(directory) != os.getcwd():
        paths = [str(directory), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
