"""Exceptions as data, and back: class name, module and arguments, as Celery's result documents have them.

Nothing is imported for a result and nothing but an exception class is called: a result is data from
outside (CVE-2021-23727).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from umbel import exceptions
from umbel.exceptions import CELERY_MODULES, RemoteError, remote_error
from umbel.formats import CeleryWrapper, dump_pickle, load_pickle
from umbel.representation import careful_repr
from umbel.serialization import Serializer

#: Most characters of what is kept of an argument that cannot be serialized.
MOST_OF_A_REPR = 10_000
#: Groups of exceptions that are kept within each other.
_MOST_GROUPS = 20


def to_data(error: BaseException, dumps: Callable[[Any], object], level: int = 0) -> dict[str, Any]:
    """Return an exception as plain values; arguments that `dumps` cannot write become their `repr`.

    A RemoteError is written as the exception it stands for, an error that Celery has too under the
    module where Celery has it. A group's exceptions stand beside its arguments, where Celery looks past them.
    """
    module, name, arguments = _names_and_arguments(error)
    members = _members(error)
    if members is not None:
        arguments = (arguments[0], careful_repr(arguments[1]))
    data: dict[str, Any] = {
        "exc_type": name,
        "exc_message": [plain(argument, dumps) for argument in arguments],
        "exc_module": module or None,
    }
    if members is not None and level < _MOST_GROUPS:
        data["exc_group"] = [to_data(member, dumps, level + 1) for member in members]
    return data


def _names_and_arguments(error: BaseException) -> tuple[str, str, tuple[Any, ...]]:
    kind = type(error)
    module, name = kind.__module__, kind.__qualname__
    try:
        arguments = tuple(error.args)
    except Exception:  # noqa: BLE001 - a class may have made anything of `args`
        arguments = ()
    if isinstance(error, RemoteError):  # itself, or a stand-in with the names of the class
        if kind is RemoteError:
            module, _, name = error.type_name.rpartition(".")
        return module, name, arguments[1:]
    if module == exceptions.__name__:
        module = CELERY_MODULES.get(name, module)
    return module, name, arguments


def _members(error: BaseException) -> tuple[BaseException, ...] | None:
    """Return the exceptions of a group, None for any other."""
    if isinstance(error, BaseExceptionGroup) and len(error.args) == 2:
        return tuple(error.exceptions)
    return None


def plain(value: Any, dumps: Callable[[Any], object]) -> Any:
    """Return a value if it can be written, else its `repr`."""
    try:
        dumps(value)
    except Exception:  # noqa: BLE001 - whatever it is, this is not the place for a second failure
        return careful_repr(value)[:MOST_OF_A_REPR]
    return value


def to_stored(error: BaseException, serializer: Serializer) -> Any:
    """Return what a document written by a serializer holds for an exception."""
    if serializer.name == "pickle":
        return for_pickle(error)
    return to_data(error, serializer.dumps)


def for_pickle(error: BaseException) -> Any:
    """Return what a pickled document holds for an exception: itself, if it survives, else its data.

    Celery reads both. Errors of ours are data, since Celery's readers may not have umbel.
    """
    if not type(error).__module__.startswith("umbel."):
        try:
            again = load_pickle(dump_pickle(error))
            if type(again) is type(error) and again.args == error.args:
                return error
        except Exception:  # noqa: BLE001, S110 - it does not survive, for whatever reason
            pass
    return to_data(error, _survives)


def _survives(value: Any) -> None:
    load_pickle(dump_pickle(value))


def from_stored(value: Any) -> Any:
    """Return the exception that a document holds as data or pickled; anything else as it is."""
    if isinstance(value, CeleryWrapper):
        return from_data(_unwrapped(value.args))
    return from_data(value) if isinstance(value, Mapping) else value


#: What Celery's workers store for an exception that cannot be pickled, by whatever serializer.
_WRAPPER = ("celery.utils.serialization", "UnpickleableExceptionWrapper")


def _unwrapped(arguments: Sequence[Any]) -> dict[str, Any]:
    """Return the data of the exception that Celery's wrapper stands for: module, name, arguments, text."""
    module, name, inner = arguments[:3]
    return {"exc_module": module, "exc_type": name, "exc_message": inner}


def from_data(data: Mapping[str, Any], level: int = 0) -> BaseException:
    """Return the exception that `data` describes.

    Its class is looked up only in modules that are already imported and is called only if it is an
    exception. For any other there is a stand-in: a RemoteError whose class has that name.
    """
    name, module = data.get("exc_type"), data.get("exc_module")
    arguments = _arguments(data.get("exc_message"))
    if (module, name) == _WRAPPER and len(arguments) >= 3 and level < _MOST_GROUPS:
        return from_data(_unwrapped(arguments), level + 1)
    found = _class(module, name)
    members = data.get("exc_group")
    if isinstance(members, list | tuple) and arguments and level < _MOST_GROUPS:
        group = [from_data(each, level + 1) for each in members if isinstance(each, Mapping)]
        arguments = (arguments[0], group)
    error = None if found is None else _made(found, arguments)
    if error is not None:
        return error
    return remote_error(module if isinstance(module, str) else "", str(name), *arguments)


def _arguments(message: Any) -> tuple[Any, ...]:
    if message is None:
        return ()
    return tuple(message) if isinstance(message, list | tuple) else (message,)


def _class(module: Any, name: Any) -> type[BaseException] | None:
    """Return the exception class of that name in a module that is imported, if there is one."""
    if not isinstance(name, str) or not isinstance(module, str):
        return None
    home = exceptions.__name__ if CELERY_MODULES.get(name) == module else module
    found: Any = sys.modules.get(home)
    for part in name.split("."):
        # Not getattr: it would run what a module does to import its parts lazily.
        found = vars(found).get(part) if isinstance(found, type | ModuleType) else None
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    return None


def _made(kind: type[BaseException], arguments: tuple[Any, ...]) -> BaseException | None:
    """Return an exception of a class with the arguments that it had; None when that cannot be.

    A constructor that wants others is passed over: to be caught, and to show its arguments, it needs none.
    One that writes its arguments anew wrote them so before: they are not to be written twice.
    """
    try:
        error = kind(*arguments)
        if isinstance(error, kind):
            _set_arguments(error, arguments)
            return error
    except Exception:  # noqa: BLE001, S110 - constructors are not ours and raise what they like
        pass
    try:
        error = kind.__new__(kind, *arguments)
        _set_arguments(error, arguments)
        str(error)
    except Exception:  # noqa: BLE001 - a class that shows itself by what only its constructor sets
        return None
    return error


def _set_arguments(error: BaseException, arguments: tuple[Any, ...]) -> None:
    if error.args != arguments and not isinstance(error, BaseExceptionGroup):
        error.args = arguments
