"""Bodies of messages in base64, as kombu's envelopes have them: by pybase64 where that is installed.

Python's own way takes thirty times as long, which for the messages of long chains is most of the time.
"""

from __future__ import annotations

import binascii

try:
    import pybase64
except ImportError:  # it comes with the extra, but the engine works without

    def encoded(body: bytes) -> str:
        """Return a body as base64."""
        return binascii.b2a_base64(body, newline=False).decode("ascii")

    def decoded(text: str) -> bytes:
        """Return what is in base64. Raises ValueError for what is none; other characters are passed over."""
        return binascii.a2b_base64(text)

else:

    def encoded(body: bytes) -> str:
        """Return a body as base64."""
        return pybase64.b64encode_as_string(body)

    def decoded(text: str) -> bytes:
        """Return what is in base64. Raises ValueError for what is none; other characters are passed over."""
        try:
            return pybase64.b64decode(text, validate=True)
        except ValueError:  # what Python takes may be more
            return binascii.a2b_base64(text)
