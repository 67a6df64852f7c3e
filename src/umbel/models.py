"""Tasks whose arguments and results are pydantic models: ``@app.task(pydantic=True)``.

A worker makes models of the data that came, and data of the model that is returned; the caller makes
data of models that it passes. Parameters that are annotated with a model, or with a union that has
one, are validated; all others are left as they are.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from umbel import current
from umbel.exceptions import ImproperlyConfigured
from umbel.lazy import lazy

#: The options of a task that this module reads.
OPTIONS = ("pydantic", "pydantic_strict", "pydantic_context", "pydantic_dump_kwargs")


@dataclass(frozen=True, slots=True)
class Modelled:
    """A function with models among its parameters. `bind`: its first parameter is the task."""

    function: Callable[..., Any]
    name: str
    bind: bool
    is_async: bool


def wrapped(
    what: Modelled, options: Mapping[str, Any]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return what to run in a function's place, and what turns a caller's models into data.

    Raises ImproperlyConfigured when pydantic is not installed.
    """
    models = _Models(what, options)

    @functools.wraps(what.function)
    def run(*args: Any, **kwargs: Any) -> Any:
        bound = models.validated(args, kwargs)
        return models.dumped_result(what.function(*bound.args, **bound.kwargs))

    @functools.wraps(what.function)
    async def run_async(*args: Any, **kwargs: Any) -> Any:
        bound = models.validated(args, kwargs)
        return models.dumped_result(await what.function(*bound.args, **bound.kwargs))

    return run_async if what.is_async else run, staticmethod(models.dumped_arguments)


class _Models:
    """What is known of a function's models."""

    def __init__(self, what: Modelled, options: Mapping[str, Any]) -> None:
        try:
            self._pydantic: Any = import_module("pydantic")
        except ImportError as error:
            raise ImproperlyConfigured(
                f"The task {what.name} has pydantic=True, but pydantic is not installed. Install it:"
                " pip install pydantic"
            ) from error
        self._what = what
        self._signature = inspect.signature(what.function)
        self._strict = bool(options.get("pydantic_strict", False))
        self._context = dict(options.get("pydantic_context") or {})
        self._dump = {"mode": "json", **(options.get("pydantic_dump_kwargs") or {})}

    @lazy
    def _hints(self) -> dict[str, Any]:
        """The annotations; as they are written where a name in them is not known (yet)."""
        try:
            return typing.get_type_hints(self._what.function)
        except (NameError, AttributeError, TypeError):
            parameters = self._signature.parameters
            written = {name: found.annotation for name, found in parameters.items()}
            return {**written, "return": self._signature.return_annotation}

    @lazy
    def _adapters(self) -> dict[str, Any]:
        """What validates a parameter, for those that have a model in their annotation."""
        kind = inspect.Parameter
        return {
            name: self._pydantic.TypeAdapter(self._hints[name])
            for name, parameter in self._signature.parameters.items()
            if parameter.kind not in (kind.VAR_POSITIONAL, kind.VAR_KEYWORD)
            and self._has_model(self._hints.get(name))
        }

    def _is_model(self, hint: Any) -> bool:
        return inspect.isclass(hint) and issubclass(hint, self._pydantic.BaseModel)

    def _has_model(self, hint: Any) -> bool:
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            return any(self._is_model(option) for option in typing.get_args(hint))
        return self._is_model(hint)

    def _validated(self, name: str, value: Any) -> Any:
        context = {
            **self._context,
            "celery_app": current.current_app_or_none(),
            "celery_task_name": self._what.name,
        }
        return self._adapters[name].validate_python(value, strict=self._strict, context=context)

    def validated(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        """Return the arguments with models in their places. Raises pydantic's ValidationError."""
        bound = self._signature.bind(*args, **kwargs)
        for name in self._adapters.keys() & bound.arguments.keys():
            bound.arguments[name] = self._validated(name, bound.arguments[name])
        return bound

    def dumped_result(self, value: Any) -> Any:
        """Return a model of the class that the function says it returns as data."""
        hint = self._hints.get("return")
        options = typing.get_args(hint) if self._has_model(hint) else ()
        kinds = tuple(kind for kind in options or (hint,) if self._is_model(kind))
        return value.model_dump(**self._dump) if kinds and isinstance(value, kinds) else value

    def dumped_arguments(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return a caller's arguments with data in place of models that a worker makes of it again.

        Other models are left for the serializer, which refuses them by name.
        """
        model = self._pydantic.BaseModel
        if not any(isinstance(value, model) for value in (*args, *kwargs.values())):
            return args, kwargs
        kind = inspect.Parameter
        positional = [
            name
            for name, parameter in self._signature.parameters.items()
            if parameter.kind in (kind.POSITIONAL_ONLY, kind.POSITIONAL_OR_KEYWORD)
        ][1 if self._what.bind else 0 :]
        names = [*positional, *[""] * len(args)]
        return (
            [self._dumped(name, value) for name, value in zip(names, args, strict=False)],
            {name: self._dumped(name, value) for name, value in kwargs.items()},
        )

    def _dumped(self, name: str, value: Any) -> Any:
        if name not in self._adapters or not isinstance(value, self._pydantic.BaseModel):
            return value
        try:
            data = value.model_dump(**self._dump)
            same = self._validated(name, data) == value
        except Exception:  # noqa: BLE001 - validators are the user's, and may work in a worker only
            return value
        return data if same else value
