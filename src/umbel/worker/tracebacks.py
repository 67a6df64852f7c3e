"""Tracebacks as users want them: from their own code on."""

from __future__ import annotations

import traceback
from types import FrameType, TracebackType

#: Most characters of a traceback that are kept.
LIMIT = 65536
_OURS = ("umbel.", "importlib", "asyncio.")


def traceback_text(error: BaseException) -> str:
    """Return the traceback as text, without the frames that only lead to the user's code."""
    frames: TracebackType | None = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame):
        frames = frames.tb_next
    if frames is None and isinstance(error, SyntaxError):
        # The file and line are in the error itself; no frame is the user's.
        lines = traceback.format_exception_only(error)
    else:
        lines = traceback.format_exception(type(error), error, frames or error.__traceback__)
    return "".join(lines)[-LIMIT:]


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(_OURS)
