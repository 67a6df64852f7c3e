"""Apps for tests: in memory, each by itself, and nothing of them left behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from umbel import current
from umbel.app import Umbel
from umbel.clock import unique_id
from umbel.contrib.testing import tasks
from umbel.engines.memory.space import forget_space
from umbel.log import Logging

#: The name of the task that each app has.
PING: str = tasks.ping.name
#: What a `TestApp` is set to where nothing else is said. Settings of one's own can be added to it.
DEFAULT_TEST_CONFIG: dict[str, Any] = {
    "worker_hijack_root_logger": False,
    "worker_log_color": False,
    "accept_content": {"json"},
    "enable_utc": True,
    "timezone": "UTC",
    "broker_url": "memory://",
    "result_backend": "memory://",
}

#: What the names of memory engines begin with that belong to one `TestApp` alone.
_PRIVATE = "test-app-"


class Trap:
    """Stands where the current app would be, and raises RuntimeError when it is used as an app.

    So code shows that relies on the current app and should have been given one.
    """

    def __getattr__(self, name: str) -> Any:
        if name in ("_is_coroutine", "__func__"):  # unittest.mock asks for them when it patches
            return None
        raise RuntimeError(
            f"The test depends on current_app, which was asked for {name!r}. Name the app, or do not use the"
            " trap (use_celery_app_trap)."
        )


class UnitLogging(Logging):
    """Sets nothing up: a test's log belongs to the program that runs the tests."""

    @property
    def already_setup(self) -> bool:
        """True, so that nobody sets it up."""
        return True

    @already_setup.setter
    def already_setup(self, done: bool) -> None:
        pass


def TestApp(
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    enable_logging: bool = False,
    set_as_current: bool = False,
    log: type[Logging] | str | None = UnitLogging,
    backend: str | None = None,
    broker: str | None = None,
    **kwargs: Any,
) -> Umbel:
    """Return an app for a test; other keywords are those of `Umbel`.

    `config` is added to `DEFAULT_TEST_CONFIG`. Where it names no broker, and neither does `broker`, the
    app's messages are in memory and no other app's; so are its results. Logging is left alone unless
    `enable_logging`.
    """
    given = dict(config or {})
    private = f"memory://{_PRIVATE}{unique_id()}"
    places = {"broker_url": private, "result_backend": private}
    settings = {**DEFAULT_TEST_CONFIG, **places, **given}
    if enable_logging is False and log is not None:
        kwargs["log"] = log
    app = Umbel(
        name or "umbel.tests",
        broker=broker,
        backend=backend,
        set_as_current=set_as_current,
        **kwargs,
    )
    app.add_defaults(settings)
    return app


@contextmanager
def set_trap(app: Umbel) -> Iterator[None]:
    """Let whoever uses the current app meet a `Trap`, until the end of the block."""
    trap = cast(Umbel, Trap())
    with current.restored():
        current.set_default_app(trap)
        current.set_current_app(trap)
        yield


@contextmanager
def setup_default_app(app: Umbel, use_trap: bool = False) -> Iterator[None]:
    """Put back, at the end of the block, which app was current; `app` is closed then, unless it was that.

    With `use_trap` nobody may use the current app meanwhile.
    """
    before = current.current_app_or_none()
    urls = (app.broker_url, app.result_url)
    try:
        with current.restored():
            if use_trap:
                with set_trap(app):
                    yield
            else:
                yield
    finally:
        if app is not before:
            app.close()
        for url in urls:
            if url is not None and url.startswith(f"memory://{_PRIVATE}"):
                forget_space(url.removeprefix("memory://"))
