"""The settings that say how messages and results are written, and which ones are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_SAME = object()


def setting(
    default: Any,
    doc: str,
    *,
    old: tuple[str, ...] = (),
    celery: Any = _SAME,
    why: str = "",
    yet: str = "",
) -> Any:
    """Declare a setting. `celery` is Celery's default where it differs, `why` the reason.

    `yet` says what is missing where a setting is accepted and not heeded yet.
    """
    celery = default if celery is _SAME else celery
    metadata = {"doc": doc, "old": old, "celery": celery, "why": why, "yet": yet}
    if isinstance(default, dict | list):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class SerializationSettings:
    """Rows of `umbel.settings.Settings`."""

    accept_content: tuple[str, ...] = setting(
        ("json",),
        "Serializers, or content types, that are ever decoded.",
        old=("CELERY_ACCEPT_CONTENT",),
    )
    task_serializer: str = setting(
        "json", "How arguments are written.", old=("CELERY_TASK_SERIALIZER",)
    )
    task_compression: str | None = setting(
        None,
        "How messages are compressed: gzip, bzip2, lzma, brotli, zstd or a content type. None: not at all.",
        old=("CELERY_MESSAGE_COMPRESSION",),
    )
    task_repr_maxlevels: int = setting(
        3,
        "How deep the arguments go that monitors and logs show.",
        old=("CELERY_REPR_MAXLEVELS",),
    )
    result_serializer: str = setting(
        "json", "How results are written.", old=("CELERY_RESULT_SERIALIZER",)
    )
    result_compression: str | None = setting(
        None,
        "How results are compressed, as task_compression. None: not at all.",
        old=("CELERY_RESULT_COMPRESSION",),
    )
    result_accept_content: tuple[str, ...] | None = setting(
        None,
        "Serializers, or content types, that results are ever decoded from. None: accept_content.",
        old=("RESULT_ACCEPT_CONTENT",),
    )
    result_extended: bool = setting(
        False,
        "Store the task's name, arguments, worker, retries and queue with its result.",
        old=("CELERY_RESULT_EXTENDED",),
    )
    message_max_bytes: int = setting(
        32 * 2**20,
        "Most bytes of a message's body; a larger one is neither sent nor read. The default is twice what"
        " RabbitMQ takes; to decode so much JSON takes a second and up to a gigabyte.",
    )
    message_max_depth: int = setting(
        500,
        "Most lists and mappings within each other in a message; Python's own limit is near 1000.",
    )
    message_max_decompressed: int = setting(
        32 * 2**20,
        "Most bytes of a compressed body or result once it is decompressed.",
    )
