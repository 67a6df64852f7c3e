"""Draws what `make demo` shows on a terminal, half-way: `python docs/pictures.py` writes _static/demo.svg.

It runs the demo, which takes the better part of a minute, so the picture is kept in the repository and
drawn anew by hand.
"""

from __future__ import annotations

import os
import pty
import re
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).parents[1]
COLUMNS, LINES = 100, 40
#: What rich writes before it draws a frame over the last one.
REDRAW = re.compile(r"(?:\r?\x1b\[(?:\d*A|2K))+")

#: As rich's own, but for a font that it would load from elsewhere.
FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px }}
.{unique_id}-title {{ font: bold 18px sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def on_a_terminal(*command: str) -> str:
    """Run a command on a terminal of its own; return all that it wrote."""
    os.environ.update(COLUMNS=str(COLUMNS), LINES=str(LINES), TERM="xterm-256color")
    written = bytearray()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 65536)
        written.extend(data)
        return data

    status = pty.spawn(command, read)
    if os.waitstatus_to_exitcode(status):
        sys.exit(written.decode())
    return written.decode()


def draw(text: str, title: str, path: Path) -> None:
    """Write a picture of a terminal that shows a text."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text.strip("\r\n").replace("\r", "")))
    svg = console.export_svg(
        title=title, theme=MONOKAI, code_format=FORMAT, unique_id=f"umbel-{path.stem}"
    )
    svg = svg.replace(MONOKAI.ansi_colors[8].hex, "#9a9684")  # grey that can be read on black
    path.write_text("".join(f"{line.rstrip()}\n" for line in svg.splitlines()), "utf-8")


def main() -> None:
    """Draw the moment at which most can be seen: after the kill, before the end."""
    os.chdir(ROOT / "examples" / "bookstore")
    frames = REDRAW.split(on_a_terminal(sys.executable, "-m", "demo"))
    after = [frame for frame in frames if "took its place" in frame and "╰" in frame]
    draw(after[len(after) // 3], "make demo", ROOT / "docs" / "_static" / "demo.svg")


if __name__ == "__main__":
    main()
