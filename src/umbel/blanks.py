"""Blanks: the messages of a task's plain calls, with everything filled in that is the same for all of them.

A plain call has no options, or as a step of a chain has them only for its ids and for what follows it. Most
are, and what their messages say of the task, its limits and its place is found out and written once, by
`build` and `encode` like that of any other call.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from umbel import serialization
from umbel.clock import Clock, unique_id
from umbel.exceptions import EncodeError
from umbel.mappings import Layered, Shared
from umbel.message import Message, Publication
from umbel.options import NO_OPTIONS, CallOptions, StepOptions
from umbel.publish import Context, Template, build, followers, unsendable
from umbel.request import Request
from umbel.routing import Route
from umbel.serialization import JSON, Serializer
from umbel.settings import Settings
from umbel.writing import embedded, own_headers, written, written_around

#: What follows a plain call.
_NOTHING = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@dataclass(frozen=True, slots=True)
class Common:
    """What calls of one kind have in common: what `sample`, a message of one, says of them all."""

    sample: Publication
    headers: Shared
    properties: Shared
    #: The properties of those that say whom to answer.
    answered: Shared

    def publication(
        self,
        id: str,
        headers: Mapping[str, Any],
        body: bytes,
        content: Any,
        is_new: bool,
        tag: str | None = None,
        reply_to: str | None = None,
    ) -> Publication:
        """Return the publication of one call.

        Where no `tag` is given nothing was ever published with its id, so that is it.
        """
        sample = self.sample
        properties = (
            Layered(self.answered, {"correlation_id": id, "reply_to": reply_to})
            if reply_to
            else Layered(self.properties, {"correlation_id": id})
        )
        message = Message(
            Layered(self.headers, headers),
            properties,
            body,
            sample.message.content_type,
            sample.message.content_encoding,
        )
        return Publication(
            sample.queue,
            message,
            tag or id,
            sample.priority,
            sample.due,
            sample.exchange,
            sample.routing_key,
            sample.more_queues,
            sample.task,
            id,
            content,
            is_new,
        )


def common_of(sample: Publication, own: Collection[str]) -> Common:
    """Return what calls have in common, whose headers of these names are each call's own."""
    headers, properties = sample.message.headers, dict(sample.message.properties)
    del properties["correlation_id"]
    return Common(
        sample,
        Shared({name: value for name, value in headers.items() if name not in own}),
        Shared(properties),
        Shared({name: value for name, value in properties.items() if name != "reply_to"}),
    )


@dataclass(frozen=True, slots=True)
class Blank:
    """See above."""

    template: Template
    settings: Settings
    clock: Clock
    common: Common
    serializer: Serializer
    compression: str | None
    #: What follows a plain call, as JSON; None where bodies are something else.
    embed: bytes | None

    def filled(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        parent: Request | None,
        options: CallOptions | StepOptions = NO_OPTIONS,
    ) -> Publication:
        """Return the publication of a call that `parent` makes; see `umbel.publish.build`.

        Its `options` may say which call it is and what follows it, and no more.
        """
        settings, plain, id = self.settings, options is NO_OPTIONS, options.task_id or unique_id()
        kwargs = kwargs if isinstance(kwargs, dict) else dict(kwargs)
        content = (args, kwargs, _NOTHING if plain else followers(options))
        try:
            if plain and self.embed is not None:
                body = written_around(args, kwargs, self.embed, settings)
            else:
                body, _ = written(content, self.serializer, self.compression, settings)
        except EncodeError as error:
            raise unsendable(error, self.template, args, kwargs, self.serializer) from error
        ids = options.root_id, options.parent_id
        if parent:
            ids = ids[0] or parent.root_id or parent.id, ids[1] or parent.id
        headers = own_headers(
            id,
            args,
            kwargs,
            settings.task_repr_maxlevels,
            ids,
            sent_at=int(self.clock.time() * 1e6) / 1e6,  # `round` takes five times as long
        )
        # A step's has its tag from the outbox that it goes to.
        tag = unique_id() if options.task_id and type(options) is not StepOptions else None
        return self.common.publication(id, headers, body, content, True, tag, options.reply_to)


def blank(template: Template, route: Route, settings: Settings, clock: Clock) -> Blank | None:
    """Return the blank of a task's plain calls to one place; None where not all of them are alike."""
    if settings.task_protocol != 2 or template.expires is not None:
        return None
    sample = build(template, (), {}, NO_OPTIONS, route, Context(settings, clock))
    serializer = serialization.serializer_of(sample.message.content_type)
    compression = template.compression or settings.task_compression
    return Blank(
        template,
        settings,
        clock,
        common_of(sample, own_headers("", (), {}, 0)),
        serializer,
        compression,
        embedded(_NOTHING) if serializer is JSON and not compression else None,
    )
