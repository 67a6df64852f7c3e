"""Settings of messages: how they are written, and where they go."""

from __future__ import annotations

from umbel.settings.declare import (
    anything,
    choice,
    flag,
    format_names,
    natural,
    priority,
    protocol,
    serializer_name,
    text,
    texts,
    unused,
    zone_name,
)


class Messages:
    """Messages."""

    accept_content = format_names(
        ("json",),
        "Serializers, or content types, that are ever decoded.",
        old="CELERY_ACCEPT_CONTENT",
    )
    task_serializer = serializer_name(
        "json", "How arguments are written.", old="CELERY_TASK_SERIALIZER"
    )
    task_compression = text(
        None,
        "How messages are compressed: gzip, bzip2, lzma, brotli, zstd or a content type. None: not at all.",
        old="CELERY_MESSAGE_COMPRESSION",
    )
    message_max_bytes = natural(
        32 * 2**20,
        "Most bytes of a message's body; a larger one is neither sent nor read. The default is twice what"
        " RabbitMQ takes; to decode so much JSON takes a second and up to a gigabyte.",
        ours=True,
    )
    message_max_depth = natural(
        500,
        "Most lists and mappings within each other in a message; Python's own limit is near 1000.",
        ours=True,
    )
    message_max_decompressed = natural(
        32 * 2**20,
        "Most bytes of a compressed body or result once it is decompressed.",
        ours=True,
    )
    task_protocol = protocol(
        2,
        "The version of the protocol that messages are written in: 2, or 1 for workers of Celery 3. Both are"
        " read. Version 1 has no parent, shadow, stamps or ignore_result.",
        old="CELERY_TASK_PROTOCOL",
    )
    workflow_by_reference = flag(
        False,
        "Messages of large workflows name what follows them, and the result store has it: for fleets in which"
        " all workers are umbel's, or umbel's consume from every queue.",
        ours=True,
    )
    enable_utc = flag(
        True,
        "Without timezone, the app's time zone is UTC. If False, it is the system's.",
    )
    timezone = zone_name(
        None, "The app's time zone. None: as enable_utc says.", old="CELERY_TIMEZONE"
    )


class Modules:
    """Modules."""

    imports = texts((), "Modules that a worker imports when it starts.", old="CELERY_IMPORTS")
    include = texts((), "More modules to import, after imports.", old="CELERY_INCLUDE")


class Queues:
    """Queues and routes."""

    task_default_queue = text("celery", "The queue of tasks that name none.")
    task_default_exchange = text(
        None,
        "The exchange of the default queue. None: the queue's name.",
        like="task_default_queue",
    )
    task_default_exchange_type = text("direct", "The type of the default exchange.")
    task_default_routing_key = text(
        None,
        "The routing key of the default queue. None: the queue's name.",
        like="task_default_queue",
    )
    task_default_queue_type = choice("classic", "quorum")(
        "classic", "The type of the default queue on RabbitMQ."
    )
    task_default_delivery_mode = anything(
        2, "2 or persistent: messages survive the broker's restart. 1 or transient: they may not."
    )
    task_default_priority = priority(
        None, "Priority of messages that name none, 0 to 255; higher is more urgent, but see Redis."
    )
    task_queue_max_priority = priority(
        None, "The highest priority of RabbitMQ's queues; None: they have none."
    )
    task_inherit_parent_priority = flag(
        False, "Calls made within a task have its priority, unless they name one."
    )
    task_queues = anything(
        None, "The queues there are: a list of Queue, or a mapping of names to options."
    )
    task_routes = anything(None, "Which task goes to which queue, by name or pattern.")
    task_create_missing_queues = flag(
        True, "A queue that is named but not in task_queues is made; else naming it is an error."
    )
    task_create_missing_queue_type = choice("classic", "quorum")(
        "classic", "Type of queues that are made so, on RabbitMQ."
    )
    task_create_missing_queue_exchange_type = text(
        None, "Type of the exchanges of queues that are made so. None: direct."
    )
    worker_direct = flag(
        False, "Each worker has a queue of its own, named after it.", old="CELERY_WORKER_DIRECT"
    )
    worker_detect_quorum_queues = unused(
        True, "The kind of a queue is asked of the server where it matters."
    )
