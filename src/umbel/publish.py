"""From a call to the broker: `build` makes the message, `send` publishes it.

Nothing here touches a result.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache, partial
from typing import Any, Protocol

from umbel import serialization, signals, tails
from umbel.clock import Clock, unique_id, utc
from umbel.compression import compress
from umbel.entities import Queue
from umbel.exceptions import EncodeError, OperationalError
from umbel.links import Tail, as_data, as_list
from umbel.message import Call, Message, Publication, decode, timestamp
from umbel.options import NO_OPTIONS, CallOptions, StepOptions, warn_once
from umbel.policies import PublishPolicy, publish_policy
from umbel.ports import Broker
from umbel.request import Request
from umbel.routing import Route
from umbel.settings import Settings, zone
from umbel.unsendable import of_call
from umbel.writing import content_of, encode

logger = logging.getLogger("umbel.publish")

#: Seconds that the one try of ``retry=False`` waits for a broker that is busy with others' writes.
ONE_TRY = 1.0
#: The delivery mode of messages that survive a restart of the broker.
PERSISTENT = 2


@dataclass(frozen=True, slots=True)
class Template:
    """What all calls of a task share: its name and what it says about its messages."""

    name: str
    serializer: str | None = None
    expires: float | datetime | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    ignore_result: bool | None = False
    shadow: str | None = None
    compression: str | None = None
    signature: Callable[[], inspect.Signature] | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """Where and when a call is made. `parent` is the task that makes it, if one does.

    `tag` is given where a call may be built twice and must be the same publication, `reply_to` where results
    are sent to who asked for them.
    """

    settings: Settings
    clock: Clock
    parent: Request | None = None
    tag: str | None = None
    reply_to: str | None = None


def build(
    template: Template,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: CallOptions,
    route: Route,
    context: Context,
) -> Publication:
    """Return a call as a publication.

    Raises EncodeError, naming task and argument, when an argument cannot be serialized, and MessageTooLarge
    for a call that no worker with these settings would read.
    """
    settings = context.settings
    call, due = _call(template, args, kwargs, options, context)
    name = _first("serializer", options, template) or settings.task_serializer
    if name not in settings.accept_content:
        _warn_if_not_accepted(name, settings)
    serializer = serialization.serializer(name)
    try:
        message = encode(
            call,
            serializer,
            route.priority,
            _first("compression", options, template) or settings.task_compression,
            settings,
            settings.task_repr_maxlevels,
            settings.task_protocol,
        )
    except EncodeError as error:
        raise unsendable(error, template, args, kwargs, serializer) from error
    key = route.routing_key
    if route.exchange or route.delivery_mode != PERSISTENT:
        message = _routed(message, route)
    return Publication(
        queue=route.queue,
        message=message,
        tag=context.tag or unique_id(),
        priority=route.priority or 0,
        due=due,
        exchange=route.exchange,
        routing_key=route.queue if key is None else key,
        more_queues=route.more_queues,
        task=call.task,
        task_id=call.id,
        content=content_of(call, settings.task_protocol),
        is_new=context.tag is None,
    )


def unsendable(
    error: EncodeError,
    template: Template,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    serializer: serialization.Serializer,
) -> EncodeError:
    """Return an error that names the task and the argument that cannot be serialized."""
    return of_call(error, template.name, args, kwargs, serializer, _parameters(template))


def _warn_if_not_accepted(name: str, settings: Settings) -> None:
    """Say once that workers with these settings refuse what is sent."""
    found = serialization.serializer(name)
    if found.content_type not in settings.accept_content:
        warn_once(
            f"Calls are sent as {name}, which accept_content does not list: workers with these settings"
            " refuse them."
        )


def _routed(message: Message, route: Route) -> Message:
    """Return a message that says how it is sent, if that is not as most are.

    Celery's workers get ``delivery_info`` with each message; here it is told where it says more than the
    queue.
    """
    properties = {**message.properties, "delivery_mode": route.delivery_mode}
    if route.exchange:
        properties["delivery_info"] = {"exchange": route.exchange, "routing_key": route.key}
    return replace(message, properties=properties)


def spread(publications: Sequence[Publication]) -> Sequence[Publication]:
    """Return one publication for each queue, where an exchange passes a message on to several."""
    for publication in publications:
        if publication.more_queues:
            return [copy for one in publications for copy in _copies(one)]
    return publications


def _copies(publication: Publication) -> list[Publication]:
    """Return a publication for each of its queues: the same task, but tags of their own."""
    if not publication.more_queues:
        return [publication]
    return [
        replace(publication, more_queues=()),
        *(
            replace(
                publication,
                queue=queue,
                tag=derived_tag(publication.tag, f"queue {queue}"),
                more_queues=(),
            )
            for queue in publication.more_queues
        ),
    ]


def _call(
    template: Template,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: CallOptions,
    context: Context,
) -> tuple[Call, float | None]:
    """Return a call with everything that its message says, and when it is due."""
    settings, parent = context.settings, context.parent
    now = context.clock.time()
    here = zone(settings)
    local = None if here is UTC else here
    task_id = options.task_id or unique_id()
    due, eta = _eta(options, now, local)
    call = Call(
        task=template.name,
        id=task_id,
        args=args,
        kwargs=kwargs,
        retries=options.retries,
        eta=eta,
        expires=_moment(_first("expires", options, template), now, local),
        time_limit=_first("time_limit", options, template),
        soft_time_limit=_first("soft_time_limit", options, template),
        shadow=options.shadow or template.shadow,
        root_id=options.root_id or (parent.root_id or parent.id if parent else None) or task_id,
        parent_id=options.parent_id or (parent.id if parent else None),
        group_id=options.group_id,
        group_index=options.group_index,
        reply_to=options.reply_to or context.reply_to,
        correlation_id=options.correlation_id,
        origin=options.origin or _origin(os.getpid()),
        ignore_result=_first("ignore_result", options, template),
        argsrepr=options.argsrepr,
        kwargsrepr=options.kwargsrepr,
        replaced_task_nesting=options.replaced_task_nesting,
        stamped_headers=options.stamped_headers,
        stamps=options.stamps,
        sent_at=round(now, 6),
        headers=options.headers or {},
        properties=options.properties,
        **followers(options),
    )
    return call, due


def followers(options: CallOptions | StepOptions) -> dict[str, Any]:
    """Return what follows a call, as its message says it."""
    chain, chord, link, link_error = options.chain, options.chord, options.link, options.link_error
    return {
        "callbacks": None if link is None else as_data(as_list(link)),
        "errbacks": None if link_error is None else as_data(as_list(link_error)),
        "chain": list(chain) if isinstance(chain, Tail) else as_data(chain),
        "chord": chord if chord is None or type(chord) is dict else as_data(chord),
    }


def derived_tag(tag: str, purpose: str) -> str:
    """Return the tag of what follows a message, the same each time it is computed.

    It begins with the same time as its origin, which keeps indexes on tags growing at one end.
    """
    digest = hashlib.sha256(f"{tag}/{purpose}".encode()).hexdigest()
    return f"{tag[:14]}{digest[:4]}-{digest[4:8]}-{digest[8:20]}"


def tagged(publication: Publication, tag: str) -> Publication:
    """Return a publication with a tag that is computed, so that others may publish it, too."""
    one = publication  # by their places: `replace` takes four times as long
    return Publication(
        one.queue,
        one.message,
        tag,
        one.priority,
        one.due,
        one.exchange,
        one.routing_key,
        one.more_queues,
        one.task,
        one.task_id,
        one.content,
    )


class Sink(Protocol):
    """Where publications go: a broker, or what keeps them for one."""

    def publish(self, publications: Sequence[Publication], timeout: float) -> object:
        """Take publications."""


def send(
    broker: Sink,
    publications: Sequence[Publication],
    settings: Settings,
    clock: Clock,
    options: CallOptions | None = None,
    around: Around | None = None,
) -> None:
    """Publish, with the signals around it, and through what others have put `around` it.

    A broker that cannot be reached is tried again, as the policy of the call or of the settings
    says, until ``broker_publish_timeout`` has passed in total; then its error is raised. All tries
    have the same tags: an engine that dedupes keeps one, whichever of them arrived.
    """
    options = options or NO_OPTIONS
    around = around or _NOTHING
    # Any receiver counts, also one that listens to a single task: the batch may be of many.
    before, after = signals.before_task_publish.is_heard, signals.after_task_publish.is_heard
    if before or after or around.publish is not None:
        publications = [_open(publication) for publication in publications]
    if before:
        announce = partial(_announce_before, settings=settings, options=options, around=around)
        publications = [announce(publication) for publication in publications]
    if around.publish is None:
        deliver(broker, publications, settings, clock, options)
    else:
        for publication in publications:
            around.publish(publication, options)
    if after:
        for publication in publications:
            _announce_after(publication)
    if signals.task_sent.is_heard:
        _announce_sent(publications, settings)


@dataclass(frozen=True, slots=True)
class Around:
    """What a publish is told only where others want to know: how a queue is declared, and what publishes.

    `publish` takes each publication in the place of `deliver`.
    """

    declared: Callable[[str], list[Queue]] = lambda name: []
    publish: Callable[[Publication, CallOptions], None] | None = None


_NOTHING = Around()


def deliver(
    broker: Sink,
    publications: Sequence[Publication],
    settings: Settings,
    clock: Clock,
    options: CallOptions,
) -> None:
    """Publish without signals; see `send`."""
    publications = spread(publications)
    timeout = settings.broker_publish_timeout if options.timeout is None else options.timeout
    retry = settings.task_publish_retry if options.retry is None else options.retry
    if not retry:
        broker.publish(publications, min(timeout, ONE_TRY))
        return
    deadline = clock.monotonic() + timeout
    retries = 0
    left = timeout
    while True:
        try:
            broker.publish(publications, left)
            return
        except Exception as error:
            pause = _policy(settings, options).pause(retries, error)
            if pause is None or clock.monotonic() + pause >= deadline:
                raise
        clock.sleep(pause)
        left = deadline - clock.monotonic()
        retries += 1


def _policy(settings: Settings, options: CallOptions) -> PublishPolicy:
    return publish_policy(settings.task_publish_retry_policy, options.retry_policy or {})


def content(publication: Publication) -> Any:
    """Return the body of a publication as it was before it was written, if that is known."""
    return publication.message.body if publication.content is None else publication.content


def rewritten(message: Message, body: Any) -> Message:
    """Return a message with another body, written and compressed as the first one was."""
    data = serialization.serializer_of(message.content_type).dumps(body)
    compression = message.headers.get("compression")
    if compression:
        data, _ = compress(data, compression)
    return replace(message, body=data)


def retry_policy_of(settings: Settings, options: CallOptions) -> dict[str, Any]:
    """Return how a publish is tried again, as a mapping, which is how Celery tells it."""
    return {**settings.task_publish_retry_policy, **(options.retry_policy or {})}


def _open(publication: Publication) -> Publication:
    """Return a publication whose headers, properties and content others may change."""
    message, content = publication.message, tails.whole(publication.content)
    headers, properties = dict(message.headers), dict(message.properties)
    if isinstance(content, tuple):
        args, kwargs, embed = content
        content = args, kwargs, dict(embed)
    message = replace(message, headers=headers, properties=properties)
    return replace(publication, message=message, content=content)


def _announce_before(
    publication: Publication, settings: Settings, options: CallOptions, around: Around
) -> Publication:
    """Send ``before_task_publish``; return the publication with what receivers changed in its body.

    Headers and properties they change in place.
    """
    message, body = publication.message, content(publication)
    signals.before_task_publish.send(
        sender=publication.task,
        body=body,
        exchange=publication.exchange,
        routing_key=publication.routing_key,
        headers=message.headers,
        properties=message.properties,
        declare=around.declared(publication.queue),
        retry_policy=retry_policy_of(settings, options),
    )
    if publication.content is None:
        return publication
    changed = rewritten(message, body)
    return publication if changed == message else replace(publication, message=changed)


def _announce_after(publication: Publication) -> None:
    signals.after_task_publish.send(
        sender=publication.task,
        body=content(publication),
        exchange=publication.exchange,
        routing_key=publication.routing_key,
        headers=publication.message.headers,
    )


def _announce_sent(publications: Sequence[Publication], settings: Settings) -> None:
    """Send ``task_sent``, which Celery has for old receivers, with the arguments as they were written."""
    for publication in publications:
        call = decode(publication.message, {publication.message.content_type}, settings)
        signals.task_sent.send(
            call.task,
            task_id=call.id,
            task=call.task,
            args=call.args,
            kwargs=call.kwargs,
            eta=call.eta,
            taskset=call.group_id,
        )


def _eta(options: CallOptions, now: float, local: tzinfo | None) -> tuple[float | None, str | None]:
    """Return when a call is due, in seconds since the epoch and as it travels."""
    if options.countdown:
        try:
            moment = utc(now) + timedelta(seconds=options.countdown)
            text = (moment.astimezone(local) if local else moment).isoformat()
        except OverflowError:
            if options.countdown > 0:
                raise
            return None, None  # long over, before the year 1
        return moment.timestamp() if options.countdown > 0 else None, text
    if options.eta is None:
        return None, None
    text = options.eta if isinstance(options.eta, str) else options.eta.isoformat()
    return timestamp(text), text


def _moment(value: Any, now: float, local: tzinfo | None) -> str | None:
    """Return an expiry, given in seconds from now or as a time, as it travels."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    moment = utc(now) + timedelta(seconds=value)
    return (moment.astimezone(local) if local else moment).isoformat()


def _first(name: str, options: CallOptions, template: Template) -> Any:
    """Return what the call says, else what its task says, unless the call takes that back."""
    value = getattr(options, name)
    if value is None and name not in options.cleared:
        return getattr(template, name)
    return value


@lru_cache(maxsize=4)
def _origin(pid: int) -> str:
    return f"gen{pid}@{platform.node()}"


def _parameters(template: Template) -> list[str]:
    """Return the names that a task has for its positional arguments."""
    if template.signature is None:
        return []
    found = template.signature().parameters.values()
    return [each.name for each in found if each.kind <= each.POSITIONAL_OR_KEYWORD]


def warn_if_never_consumed(broker: Broker, describe: Callable[[], str]) -> None:
    """Log one warning when no worker has ever consumed from the broker.

    A courtesy that never fails.
    """
    try:
        consumed = broker.ever_consumed()
    except OperationalError:
        return
    if not consumed:
        logger.warning("%s", describe())
