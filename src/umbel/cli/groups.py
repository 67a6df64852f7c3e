"""What all commands share: groups that guess what was meant, and examples below each help."""

from __future__ import annotations

from collections.abc import Iterable

import click

from umbel.nearest import meant


def examples(*lines: str, codes: str = "") -> str:
    """Return the end of a command's help: an example or two, and exit codes of its own."""
    text = "\b\n" + "\n".join(("Example:" if len(lines) == 1 else "Examples:", *indented(lines)))
    return f"{text}\n\n{codes}" if codes else text


def indented(lines: Iterable[str]) -> list[str]:
    """Return lines set in from the margin."""
    return [f"  {line}" for line in lines]


class Group(click.Group):
    """A group of commands that says what was probably meant by a wrong name."""

    #: Commands that do not exist, and what to say of each.
    others: dict[str, str] = {}  # noqa: RUF012 - a table, never changed

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names. Raises UsageError when there is none."""
        name = args[0]
        if name.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        known = self.list_commands(ctx)
        if name == "help":
            raise click.UsageError(f"Write {ctx.command_path} --help, or COMMAND --help.", ctx)
        reason = self.others.get(name)
        if reason is not None:
            raise click.UsageError(reason, ctx)
        hint = meant(name, known) or f" Known are {', '.join(known)}."
        raise click.UsageError(f"There is no command {name!r}.{hint}", ctx)
