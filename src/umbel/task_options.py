"""The options of ``@app.task``: declared once; unknown ones are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, TypedDict

from umbel.checks import refuse_unknown, require_executor, require_text
from umbel.entities import Exchange, Queue

Handler = Callable[..., Any]


class TaskKeywords(TypedDict, total=False):
    """The keyword arguments of ``@app.task`` beside `bind` and `base`, for type checkers."""

    name: str | None
    queue: str | Queue | None
    exchange: str | Exchange | None
    routing_key: str | None
    delivery_mode: int | str | None
    priority: int | None
    max_retries: int | None
    default_retry_delay: float
    autoretry_for: tuple[type[BaseException], ...]
    dont_autoretry_for: tuple[type[BaseException], ...]
    retry_kwargs: Mapping[str, Any]
    retry_backoff: float | bool
    retry_backoff_max: float
    retry_jitter: bool
    time_limit: float | None
    soft_time_limit: float | None
    rate_limit: str | float | None
    expires: float | datetime | None
    serializer: str | None
    compression: str | None
    ignore_result: bool | None
    store_errors_even_if_ignored: bool | None
    store_eager_result: bool | None
    acks_late: bool | None
    acks_on_failure_or_timeout: bool | None
    acks_on_failure: bool | None
    acks_on_timeout: bool | None
    reject_on_worker_lost: bool | None
    retry_on_worker_lost: bool | None
    track_started: bool | None
    executor: Literal["threads", "asyncio"] | None
    throws: tuple[type[BaseException], ...] | type[BaseException]
    typing: bool | None
    trail: bool
    send_events: bool
    resultrepr_maxsize: int
    shadow_name: Handler
    before_start: Handler
    on_success: Handler
    on_failure: Handler
    on_retry: Handler
    after_return: Handler
    pydantic: bool
    pydantic_strict: bool
    pydantic_context: Mapping[str, Any] | None
    pydantic_dump_kwargs: Mapping[str, Any] | None
    shared: bool
    lazy: bool
    filter: Handler | None
    abstract: bool
    backend: Any
    Strategy: Any
    Request: Any


TASK_NAMES = tuple(TaskKeywords.__annotations__)


def check_task_keywords(keywords: Mapping[str, Any], base: Callable[..., Any] | type) -> None:
    """Refuse an option that neither umbel nor the task's base class knows, and no name or executor."""
    known = tuple(name for name in keywords if hasattr(base, name))
    refuse_unknown(keywords, (*TASK_NAMES, "bind", "base", *known), "@app.task")
    if keywords.get("name"):
        require_text("name", keywords["name"])
    require_executor(keywords.get("executor"))
