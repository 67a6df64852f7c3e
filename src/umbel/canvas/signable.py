"""What tasks and apps have of workflows: they make signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from umbel.canvas.maps import chunks, xmap, xstarmap
from umbel.canvas.signature import Signature, signature
from umbel.request import Request

if TYPE_CHECKING:
    from umbel.app import Umbel

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")


class Signable(Generic[P, R]):
    """A task as what workflows are made of."""

    if TYPE_CHECKING:
        ignore_result: bool | None

        @property
        def app(self) -> Umbel:
            """The task's app."""

        @property
        def request(self) -> Request:
            """The call that runs now."""

    @overload
    def s(self) -> Signature[R]: ...
    @overload
    def s(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R]: ...
    @overload
    def s(
        self: Signable[Concatenate[Any, Q], R], *args: Q.args, **kwargs: Q.kwargs
    ) -> Signature[R]: ...
    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Return a signature with these arguments: ``add.s(2)``.

        They may be all, none, or all but the first, which is the result of what ran before. More than that
        can be left open by ``signature(args)``, which type checkers do not check.
        """
        return self.signature(args, kwargs)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R]:
        """Return an immutable signature with these arguments: it takes no result of what ran before."""
        return self.signature(args, kwargs, immutable=True)

    def signature(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Signature[R]:
        """Return a signature with these arguments and options of `apply_async`.

        `more` are options too, and ``immutable=True``.
        """
        more.setdefault("app", self.app)
        return Signature(self, args, kwargs, options, **more)

    subtask = signature

    def map(self, it: Iterable[Any]) -> xmap:
        """Return a signature that calls this task with each item, in one message."""
        return xmap(self.s(), it, app=self.app)

    def starmap(self, it: Iterable[Any]) -> xstarmap:
        """Return a signature that calls this task with each item as its arguments, in one message."""
        return xstarmap(self.s(), it, app=self.app)

    def chunks(self, it: Iterable[Any], n: int) -> chunks:
        """Return a signature that calls this task with each item as its arguments, `n` in each message."""
        return chunks(self.s(), it, n, app=self.app)

    def signature_from_request(
        self,
        request: Request | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        **extra_options: Any,
    ) -> Signature[R]:
        """Return the call that runs now, or another, as a signature: with its id, and what follows it.

        It goes to the queue that the call came through, unless another is given.
        """
        request = self.request if request is None else request
        info = dict(request.delivery_info or {})
        ignored = (request.ignore_result, self.ignore_result)
        options = {
            **request.as_execution_options(),
            "ignore_result": self.app.either("task_ignore_result", *ignored),
            **extra_options,
        }
        if info.get("priority") is not None:
            options["priority"] = info["priority"]
        if queue:
            options["queue"] = queue
        elif info.get("exchange") == "" and info.get("routing_key"):
            options["queue"] = info["routing_key"]
        else:
            sent = ("exchange", "routing_key", "priority")
            options.update((name, info[name]) for name in sent if name in info)
        return self.signature(
            request.args if args is None else args,
            request.kwargs if kwargs is None else kwargs,
            options,
            **extra_options,
        )

    subtask_from_request = signature_from_request


def app_signature(self: Umbel, *args: Any, **kwargs: Any) -> Signature[Any]:
    """Return a signature of a task of this app, by its name, with arguments; or of a dictionary."""
    return signature(*args, **{**kwargs, "app": self})
