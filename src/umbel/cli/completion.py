"""``umbel completion``: the script by which a shell completes umbel's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from umbel.cli.groups import examples

SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    epilog=examples(
        'eval "$(umbel completion bash)"         # in ~/.bashrc',
        'eval "$(umbel completion zsh)"          # in ~/.zshrc',
        "umbel completion fish > ~/.config/fish/completions/umbel.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that completes umbel's words in a shell.

    It completes commands, options, task names (umbel -A tasks call …), queues and settings.
    """
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click has these three
    click.echo(made(context.find_root().command, {}, "umbel", "_UMBEL_COMPLETE").source())
