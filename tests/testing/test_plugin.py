"""The fixtures for pytest, in runs of their own. Only what is about other processes starts one."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

import umbel.contrib.testing.worker  # noqa: F401 - else each run would import it anew, and forget it
from umbel import current
from umbel.contrib import pytest as names

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    current._default_app[:] = []
    yield
    assert current.current_app_or_none() is None


def passes(pytester: pytest.Pytester, test: str, conftest: str = "", count: int = 1) -> None:
    """Run a file of tests in this process; all `count` of them must pass."""
    pytester.makeconftest(conftest)
    pytester.makepyfile(test)
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=count)


ADD = """
import threading
import pytest
from umbel import Celery, Umbel, current_app, shared_task

@shared_task
def add(x, y):
    return x + y
"""


def test_both_names_stand_for_the_same(pytester: pytest.Pytester) -> None:
    passes(
        pytester,
        ADD
        + """
def test(celery_app, umbel_app, celery_worker, umbel_worker):
    assert celery_app is umbel_app
    assert celery_worker is umbel_worker
    assert celery_worker.app is celery_app

    @celery_app.task
    def where():
        return threading.current_thread().name

    assert add.delay(1, 2).get(timeout=10) == 3
    celery_worker.reload()
    assert where.delay().get(timeout=10) == "umbel-worker-1"
    assert len([one for one in threading.enumerate() if one.name == "umbel-worker-1"]) == 1

def test_nothing_is_left():
    assert not [one for one in threading.enumerate() if one.name.startswith("umbel-")]
""",
        count=2,
    )


def test_each_test_has_messages_of_its_own(pytester: pytest.Pytester) -> None:
    passes(
        pytester,
        """
import pytest

@pytest.mark.parametrize("turn", [1, 2])
def test(celery_app, turn):
    assert list(celery_app.queues.peek("celery", 10)) == []
    celery_app.send_task("somewhere.else")
    assert len(list(celery_app.queues.peek("celery", 10))) == 1

def test_two(umbel_app, umbel_session_app):
    umbel_app.send_task("somewhere.else")
    assert list(umbel_session_app.queues.peek("celery", 10)) == []
""",
        count=3,
    )


def test_markers_change_settings(pytester: pytest.Pytester) -> None:
    passes(
        pytester,
        """
import pytest

@pytest.mark.celery(result_backend="memory://here", task_default_queue="theirs")
@pytest.mark.umbel(task_default_queue="ours")
def test_marked(celery_app):
    assert celery_app.conf.result_backend == "memory://here"
    assert celery_app.conf.task_default_queue == "ours"

def test_unmarked(celery_app):
    assert celery_app.conf.task_default_queue == "celery"
""",
        count=2,
    )


@pytest.mark.parametrize("prefix", ["celery", "umbel"])
def test_values_are_given_under_either_name(pytester: pytest.Pytester, prefix: str) -> None:
    pytester.makepyfile(
        more_tasks="""
from umbel import shared_task

@shared_task(name="more")
def more():
    return 0
"""
    )
    passes(
        pytester,
        """
def test(celery_app, umbel_worker):
    assert celery_app.main == "named"
    assert celery_app.conf.task_default_queue == "mine"
    assert umbel_worker.queues == ("mine", "other")
    assert umbel_worker.concurrency == 2
    assert celery_app.tasks["made_of_a_class"].delay().get(timeout=10) == "done"
    assert celery_app.send_task("more").get(timeout=10) == 0
""",
        f"""
import pytest
from umbel import Task

class Made(Task):
    name = "made_of_a_class"
    def run(self):
        return "done"

@pytest.fixture(scope="session")
def {prefix}_config(): return {{"task_default_queue": "mine"}}
@pytest.fixture(scope="session")
def {prefix}_parameters(): return {{"name": "named"}}
@pytest.fixture(scope="session")
def {prefix}_worker_parameters(): return {{"queues": ["mine", "other"], "concurrency": 2}}
@pytest.fixture(scope="session")
def {prefix}_worker_pool(): return "threads"
@pytest.fixture(scope="session")
def {prefix}_includes(): return ["more_tasks"]
@pytest.fixture(scope="session")
def {prefix}_class_tasks(): return [Made]
""",
    )


@pytest.mark.parametrize("prefix", ["celery", "umbel"])
def test_values_are_those_of_the_tests_own_module(pytester: pytest.Pytester, prefix: str) -> None:
    """And of its class, in any scope, parametrized or not."""
    module = f"""
import pytest

@pytest.fixture(scope="module")
def {prefix}_config(): return {{"task_default_queue": "of NAME"}}

@pytest.fixture
def {prefix}_worker_parameters(): return {{"queues": ["of NAME"]}}

def test(celery_app, celery_worker):
    assert celery_app.conf.task_default_queue == "of NAME"
    assert celery_worker.queues == ("of NAME",)

class TestMore:
    @pytest.fixture(params=["one", "two"])
    def word(self, request): return request.param

    @pytest.fixture
    def {prefix}_config(self, {prefix}_config, word): return {{**{prefix}_config, "word": word}}

    def test(self, celery_app, word):
        assert celery_app.conf.task_default_queue == "of NAME"
        assert celery_app.conf["word"] == word

@pytest.mark.parametrize("{prefix}_config", [{{"task_default_queue": "one"}}])
def test_parametrized(umbel_app):
    assert umbel_app.conf.task_default_queue == "one"
"""
    pytester.makepyfile(**{f"test_{name}": module.replace("NAME", name) for name in ("a", "b")})
    passes(
        pytester,
        "def test(celery_app): assert celery_app.conf.task_default_queue == 'celery'",
        count=9,
    )


@pytest.mark.parametrize("prefix", ["celery", "umbel"])
def test_an_app_of_ones_own(pytester: pytest.Pytester, prefix: str) -> None:
    passes(
        pytester,
        f"""
def test({prefix}_app, {prefix}_worker):
    assert {prefix}_app.main == "mine"
    assert {prefix}_worker.app is {prefix}_app
    assert {prefix}_app.tasks["double"].delay(2).get(timeout=10) == 4

def test_celerys_name_follows(celery_app, celery_worker):
    assert celery_app.main == "mine"
    assert celery_worker.app is celery_app
""",
        f"""
import pytest
from umbel import Umbel

@pytest.fixture
def {prefix}_app():
    app = Umbel("mine", broker="memory://mine", backend="memory://mine", set_as_current=False)

    @app.task(name="double")
    def double(x):
        return 2 * x

    return app
""",
        count=2,
    )


def test_a_session_has_one_app_and_one_worker(pytester: pytest.Pytester) -> None:
    passes(
        pytester,
        ADD
        + """
apps = []

@pytest.mark.parametrize("turn", [1, 2])
def test(celery_session_app, celery_session_worker, umbel_session_worker, turn):
    apps.append(celery_session_app)
    assert celery_session_worker is umbel_session_worker
    assert current_app._get_current_object() is celery_session_app
    assert add.delay(turn, 2).get(timeout=10) == turn + 2
    assert len(set(map(id, apps))) == 1
""",
        count=2,
    )


def test_the_current_app_may_be_a_trap(pytester: pytest.Pytester) -> None:
    passes(
        pytester,
        ADD
        + """
def test_trapped(celery_app):
    with pytest.raises(RuntimeError, match="depends on current_app"):
        add.delay(1, 2)

def test_allowed(celery_app, depends_on_current_app):
    assert current_app._get_current_object() is celery_app
""",
        "import pytest\n@pytest.fixture(scope='session')\ndef use_celery_app_trap(): return True",
        count=2,
    )


def test_async_tests(pytester: pytest.Pytester) -> None:
    passes(
        pytester,
        """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test(umbel_app, umbel_worker):
    @umbel_app.task
    async def double(x: int) -> int:
        return 2 * x

    result = await double.adelay(2)
    assert await result.aget(timeout=10) == 4
""",
    )


def test_no_worker(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_WORKER", "1")
    passes(pytester, "def test(celery_worker, umbel_session_worker): assert celery_worker is None")


def test_the_module_of_celerys_name_may_be_named_too(pytester: pytest.Pytester) -> None:
    test = "def test(celery_app, celery_worker, umbel_app): assert celery_app is umbel_app"
    passes(pytester, test, 'pytest_plugins = ("umbel.contrib.pytest",)')


def test_fixtures_may_be_imported(pytester: pytest.Pytester) -> None:
    listed = ", ".join(name for name in names.__all__ if name != "pytest_configure")
    test = "def test(celery_app, celery_worker, umbel_app): assert celery_app is umbel_app"
    passes(pytester, test, f"from umbel.contrib.pytest import {listed}")


def test_markers_are_explained_once(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ("umbel.contrib.pytest",)')
    lines = pytester.runpytest_inprocess("--markers").outlines
    for name in ("celery", "umbel"):
        assert len([line for line in lines if line.startswith(f"@pytest.mark.{name}(")]) == 1


def test_beside_celerys_plugin_and_without_importing_umbel(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ("celery.contrib.pytest",)')
    pytester.makepyfile("""
import sys

def test_not_imported():
    assert "umbel_pytest" in sys.modules
    assert "umbel" not in sys.modules

def test_both(celery_app, umbel_app, umbel_worker):
    import celery, umbel
    assert isinstance(celery_app, celery.Celery)
    assert isinstance(umbel_app, umbel.Umbel)

    @umbel_app.task
    def one():
        return 1

    assert one.delay().get(timeout=10) == 1
""")
    pytester.run(
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly"
    ).assert_outcomes(passed=2)
