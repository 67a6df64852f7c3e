"""``celery.local``: something that stands for what a function returns, each time or once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any


class Proxy:
    """Stands for what a function returns: attributes, items, calls and comparisons go to that object."""

    __slots__ = ("_Proxy__args", "_Proxy__kwargs", "_Proxy__local", "__dict__")

    def __init__(
        self,
        local: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        name: str | None = None,
        __doc__: str | None = None,
    ) -> None:
        object.__setattr__(self, "_Proxy__local", local)
        object.__setattr__(self, "_Proxy__args", args or ())
        object.__setattr__(self, "_Proxy__kwargs", kwargs or {})

    def _get_current_object(self) -> Any:
        """Return the object that it stands for now."""
        make = object.__getattribute__(self, "_Proxy__local")
        args = object.__getattribute__(self, "_Proxy__args")
        return make(*args, **object.__getattribute__(self, "_Proxy__kwargs"))

    @property  # type: ignore[misc] # what `isinstance` asks
    def __class__(self) -> type:
        """The class of the object, so that `isinstance` answers for it."""
        kind: type = type(self._get_current_object())
        return kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._get_current_object(), name)

    def __getitem__(self, key: Any) -> Any:
        return self._get_current_object()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._get_current_object()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._get_current_object()[key]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object."""
        return self._get_current_object()(*args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self._get_current_object())

    def __len__(self) -> int:
        return len(self._get_current_object())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._get_current_object())

    def __contains__(self, item: object) -> bool:
        return item in self._get_current_object()

    def __eq__(self, other: object) -> bool:
        return bool(self._get_current_object() == other)

    def __hash__(self) -> int:
        return hash(self._get_current_object())

    def __repr__(self) -> str:
        return repr(self._get_current_object())

    def __str__(self) -> str:
        return str(self._get_current_object())

    def __reduce__(self) -> Any:
        return self._get_current_object().__reduce__()


class PromiseProxy(Proxy):
    """Stands for what a function returned when it was first asked; the function is called once."""

    __slots__ = ("__thing",)

    def _get_current_object(self) -> Any:
        """Return the object, making it now if nobody asked before."""
        try:
            return object.__getattribute__(self, "_PromiseProxy__thing")
        except AttributeError:
            thing = super()._get_current_object()
            object.__setattr__(self, "_PromiseProxy__thing", thing)
            return thing

    def __evaluated__(self) -> bool:
        """Tell whether the object is made."""
        try:
            object.__getattribute__(self, "_PromiseProxy__thing")
        except AttributeError:
            return False
        return True

    def __maybe_evaluate__(self) -> Any:
        """Return the object."""
        return self._get_current_object()


def maybe_evaluate(value: Any) -> Any:
    """Return what a promise stands for; anything else as it is."""
    return value._get_current_object() if type(value) is PromiseProxy else value


def try_import(module: str, default: Any = None) -> ModuleType | Any:
    """Return a module, or the default when it cannot be imported."""
    try:
        return import_module(module)
    except ImportError:
        return default


class class_property:
    """A property of a class, asked for on the class or on its objects."""

    def __init__(
        self,
        getter: Callable[[Any], Any] | None = None,
        setter: Callable[[Any, Any], None] | None = None,
    ) -> None:
        self._get = getter
        self._set = setter

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if owner is None or self._get is None:
            return self
        return self._get(owner)

    def __set__(self, instance: object, value: Any) -> None:
        if self._set is None:
            raise AttributeError("This property of a class cannot be set.")
        self._set(type(instance), value)

    def setter(self, setter: Callable[[Any, Any], None]) -> class_property:
        """Return the property with what sets it."""
        return type(self)(self._get, setter)
