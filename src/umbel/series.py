"""Series: the calls of one group, which differ in their ids, their places in it and their arguments.

What their messages have in common, such as the body of their chord, is found out and written once, by `build`
like that of any other call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from umbel import serialization
from umbel.blanks import Common, common_of
from umbel.exceptions import EncodeError
from umbel.message import Publication
from umbel.options import CallOptions
from umbel.publish import Context, Template, build, unsendable
from umbel.routing import Route
from umbel.serialization import JSON
from umbel.writing import embedded, own_headers, written_around


@dataclass(frozen=True, slots=True)
class Series:
    """See above. `ids` are those of root and parent."""

    template: Template
    context: Context
    common: Common
    embed: bytes
    ids: tuple[str | None, str | None]
    check: Callable[..., None] | None
    prepare: Callable[[Sequence[Any], Mapping[str, Any]], Any] | None

    @property
    def ignored(self) -> bool:
        """Whether nothing is stored of these calls."""
        return bool(self.common.sample.message.headers["ignore_result"])

    def publication(
        self, task_id: str, group_index: int, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Publication:
        """Return the publication of one call; see `umbel.publish.build`."""
        settings = self.context.settings
        if self.check is not None:
            self.check(*args, **kwargs)
        if self.prepare is not None:
            args, kwargs = self.prepare(args, kwargs)
        kwargs = kwargs if isinstance(kwargs, dict) else dict(kwargs)
        try:
            body = written_around(args, kwargs, self.embed, settings)
        except EncodeError as error:
            raise unsendable(error, self.template, args, kwargs, JSON) from error
        headers = own_headers(
            task_id,
            args,
            kwargs,
            settings.task_repr_maxlevels,
            self.ids,
            sent_at=round(self.context.clock.time(), 6),
        )
        headers["group_index"] = group_index
        content = (args, kwargs, self.common.sample.content[2])
        return self.common.publication(task_id, headers, body, content, False)


def series(
    template: Template,
    options: CallOptions,
    route: Route,
    context: Context,
    check: Callable[..., None] | None = None,
    prepare: Callable[[Sequence[Any], Mapping[str, Any]], Any] | None = None,
) -> Series | None:
    """Return the series of calls with these options; None where more than is said above may differ.

    `options` have the id of no call. `check` and `prepare` are those of `umbel.calls.Target`.
    """
    settings = context.settings
    name = options.serializer or template.serializer or settings.task_serializer
    compressed = options.compression or template.compression or settings.task_compression
    of_its_own = options.correlation_id, options.argsrepr, options.kwargsrepr, options.headers
    own_json = serialization.serializer(name) is JSON
    if settings.task_protocol != 2 or not own_json or compressed or any(of_its_own):
        return None
    sample = build(template, (), {}, options, route, context)
    message = sample.message
    root, parent = message.headers["root_id"], message.headers["parent_id"]
    return Series(
        template,
        context,
        common_of(sample, {*own_headers("", (), {}, 0), "group_index"}),
        embedded(sample.content[2]),
        (None if root == sample.task_id else root, parent),
        check,
        prepare,
    )
