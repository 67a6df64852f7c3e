"""Which class a setting of the result backend names."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from tests.unit.backends.kept import Mapped
from umbel import Umbel
from umbel.backends import names
from umbel.backends.store import BackendStore
from umbel.exceptions import ImproperlyConfigured

KEPT = "tests.unit.backends.kept"


def backend_of(app: Umbel) -> Any:
    store = app.results
    assert isinstance(store, BackendStore)
    return store.backend


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (f"{KEPT}:Mapped", None),
        (f"{KEPT}.Mapped", None),
        (f"{KEPT}:Mapped+http://there/x", "http://there/x"),
        (f"{KEPT}:Mapped://there", f"{KEPT}:Mapped://there"),
    ],
)
def test_a_class_is_named_by_where_it_is(given: str, url: str | None) -> None:
    app = Umbel("proj", broker="memory://", backend=given)
    backend = backend_of(app)
    assert type(backend) is Mapped
    assert (backend.app, backend.url) == (app, url)


def test_or_by_what_a_package_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("kept-map", f"{KEPT}:Mapped", names.GROUP)
    monkeypatch.setattr(
        names, "entry_points", lambda group, name: [entry] if name == entry.name else []
    )
    for given, url in (("kept-map", None), ("kept-map://there", "kept-map://there")):
        backend = backend_of(Umbel("proj", broker="memory://", backend=given))
        assert (type(backend), backend.url) == (Mapped, url)


def test_what_a_package_registered_may_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("kept-map", f"{KEPT}:Gone", names.GROUP)
    monkeypatch.setattr(names, "entry_points", lambda group, name: [entry])
    with pytest.raises(ImproperlyConfigured, match="Gone of an installed package"):
        _ = Umbel("proj", broker="memory://", backend="kept-map").results


def test_or_by_what_a_setting_has_in_its_place() -> None:
    given: Any = {"override_backends": {"cache": f"{KEPT}:Mapped"}}
    app = Umbel("proj", broker="memory://", backend="cache", **given)
    assert type(backend_of(app)) is Mapped


def test_or_by_what_the_loader_has_there(memory: str) -> None:
    class Loaded(Umbel):
        loader = type(
            "Loader", (), {"override_backends": {"cache": f"{KEPT}:Mapped", "own": Mapped}}
        )

    for given in ("cache", "own"):
        assert type(backend_of(Loaded("proj", broker="memory://", backend=given))) is Mapped


def test_engines_go_before(memory: str) -> None:
    app = Umbel("proj", broker=memory, backend=memory)
    assert not isinstance(app.results, BackendStore)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "nosuch",
            "'nosuch' is neither a URL, such as redis://localhost, nor the name of a result store",
        ),
        ("mongodb://there", "No engine serves URLs that begin with 'mongodb'"),
        (f"{KEPT}:Missing", "There is no"),
        (f"{KEPT}:PLACES", "no subclass of"),
        ("umbel.app:Umbel", "no subclass of"),
    ],
)
def test_what_names_nothing_is_said(given: str, said: str) -> None:
    app = Umbel("proj", broker="memory://", backend=given)
    with pytest.raises(ImproperlyConfigured, match=said):
        _ = app.results
