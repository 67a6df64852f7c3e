"""Names of Celery's classes, and kombu's, that are missing here."""

from __future__ import annotations

from collections.abc import Mapping

from umbel.absent.reasons import (
    CHORDS,
    CONTROL,
    DICT,
    DICT_QUEUES,
    ENTITY,
    ERRORS,
    EVENTS,
    FIXED,
    HOOKS,
    OWN_LOG,
    PLACE,
    QUEUE_SETTINGS,
    STORE,
    WIRE,
    WITHIN,
    WRITER,
)

#: What kombu's queues and exchanges do once they are bound to a channel.
_DECLARING = (
    *("as_dict", "attrs", "bind", "bind_to", "can_cache_declaration", "declare", "delete"),
    *("is_bound", "maybe_bind", "revive", "unbind_from", "when_bound"),
)

#: By class, the names that are missing, and the sentence that goes on with each.
ABSENT: Mapping[str, Mapping[str, str]] = {
    "Umbel": {
        "events": EVENTS,
        **dict.fromkeys(
            ("Worker", "WorkController"),
            "is Celery's worker as an object; app.worker_main(['worker', '-l', 'INFO']) starts one",
        ),
        **HOOKS,
        "annotations": "is the setting task_annotations here",
        "configured": "has no meaning here: settings are read when one is first asked for",
        **dict.fromkeys(
            ("autofinalize", "set_as_current"),
            "is only an argument of Celery's app here; app.finalized says whether it is complete",
        ),
        **dict.fromkeys(
            ("IS_WINDOWS", "IS_macOS", "Pickler", "SYSTEM", "use_fast_trace_task"), WITHIN
        ),
        "subclass_with_self": "has no meaning here: objects know their app, classes need not",
        "type_checker": "has no meaning here: the option typing says whether arguments are checked",
        "create_task_cls": "has no meaning here: app.Task is the class of the app's tasks",
    },
    "Task": {
        **dict.fromkeys(
            ("Strategy", "start_strategy", "Request"),
            "is part of Celery's worker from within; handlers such as before_start are the same here",
        ),
        "add_around": "has no meaning here; override __call__ in a class of your own and name it as base=",
        "request_stack": "has no meaning here: push_request and pop_request begin and end a call",
        "from_config": "has no meaning here: settings are looked up when they are needed",
        "bind": "has no meaning here: @app.task and app.register_task bind a task to an app",
    },
    "Signature": {"election": CONTROL},
    "AsyncResult": {
        "on_ready": "has no meaning here: result.then(callback) is told of the end",
        "supports_native_join": "has no meaning here: one subscription hears of any number of results",
    },
    "ResultSet": {
        "on_ready": "has no meaning here: result.then(callback) is told of the end",
    },
    "Control": {
        **dict.fromkeys(
            (
                *("broadcast", "ping", "inspect", "election", "rate_limit", "add_consumer"),
                *("cancel_consumer", "time_limit", "enable_events", "disable_events"),
                *("pool_grow", "pool_shrink", "pool_restart", "autoscale", "shutdown"),
                *("heartbeat", "mailbox", "Mailbox"),
            ),
            CONTROL,
        ),
        **dict.fromkeys(("purge", "discard_all"), "is the command `umbel purge` here"),
    },
    "AMQP": {
        **dict.fromkeys(
            (
                *("Connection", "BrokerConnection", "Consumer", "Producer", "TaskConsumer"),
                *("producer_pool", "publisher_pool"),
            ),
            WIRE,
        ),
        **dict.fromkeys(
            (
                *("as_task_v1", "as_task_v2", "create_task_message", "send_task_message"),
                *("task_protocols", "utc", "argsrepr_maxsize", "kwargsrepr_maxsize"),
            ),
            WRITER,
        ),
        **dict.fromkeys(("autoexchange", "queues_cls"), FIXED),
        "app": "has no meaning here: app.amqp asks only the settings",
    },
    "Queues": {
        **dict.fromkeys(
            (
                *("autoexchange", "create_missing", "create_missing_queue_exchange_type"),
                *("create_missing_queue_type", "default_exchange", "default_routing_key"),
                "max_priority",
            ),
            QUEUE_SETTINGS,
        ),
        **dict.fromkeys(("add_compat", "new_missing"), "is app.amqp.queues.add here"),
        **dict.fromkeys(("copy", "fromkeys"), DICT_QUEUES),
    },
    "Tasks": {
        **dict.fromkeys(
            ("clear", "copy", "fromkeys", "pop", "popitem", "setdefault", "update"), DICT
        ),
        **dict.fromkeys(
            ("filter_types", "periodic"), "has no meaning here: there is one kind of tasks"
        ),
    },
    "Config": {
        "copy": "is app.conf.snapshot here, a value that later changes leave alone",
        "maybe_warn_deprecated_settings": "has no meaning here: no setting is deprecated",
    },
    "Logging": dict.fromkeys(
        ("colorize", "datefmt", "format", "task_datefmt", "task_format"), OWN_LOG
    ),
    "Signal": dict.fromkeys(("lock", "sender_receivers_cache", "use_caching"), WITHIN),
    "Retry": {"excs": "has no meaning here: repr(retry.exc) says the same"},
    "Backend": {
        **dict.fromkeys(
            (
                *("add_to_chord", "apply_chord", "on_chord_part_return", "fallback_chord_unlock"),
                *("set_chord_size", "ensure_chords_allowed", "chord_error_from_stack"),
                "iter_native",
            ),
            CHORDS,
        ),
        **dict.fromkeys(
            (
                *("client", "get", "mget", "set", "delete", "incr", "expire", "encode", "decode"),
                *("decode_result", "serializer", "retry_policy", "on_task_call"),
                *("current_task_children", "fail_from_current_stack", "wait_for_pending"),
                *("accept", "compression", "content_encoding", "content_type", "encoder", "key_t"),
                *("implements_incr", "thread_safe", "prepare_compression", "prepare_expires"),
                *("prepare_persistent", "failure_expires", "supports_failure_expires"),
                *("supports_result_compression", "subpolling_interval", "ResultConsumer"),
                *("result_consumer", "on_result_fulfilled", "on_connection_error"),
                *("add_pending_results", "ConnectionPool", "connection_class_ssl", "connparams"),
                *("connection_errors", "channel_errors", "max_connections", "ensure", "redis"),
            ),
            STORE,
        ),
        **dict.fromkeys(
            (
                *("always_retry", "max_retries", "base_sleep_between_retries_ms"),
                *("max_sleep_between_retries_ms", "exception_safe_to_retry"),
                "on_backend_retryable_error",
            ),
            "is a setting here: those that begin with result_backend_",
        ),
        **dict.fromkeys(
            (*("chord_expires", "chord_keyprefix", "get_key_for_chord"),),
            CHORDS,
        ),
        **dict.fromkeys(
            ("reload_task_result", "reload_group_result"),
            "has no meaning here: an unknown result is asked for each time",
        ),
    },
    "Connection": {
        **dict.fromkeys(
            (
                *("SimpleQueue", "SimpleBuffer", "Consumer", "Producer"),
                "drain_events",
                *("ChannelPool", "Pool", "alt", "autoretry", "collect", "completes_cycle"),
                "ensure",
                *("connection", "create_transport", "cycle", "declared_entities", "get_manager"),
                *("failover_strategies", "failover_strategy", "get_heartbeat_interval"),
                "heartbeat",
                *("get_transport_cls", "heartbeat_check", "insist", "is_evented", "manager"),
                *("maybe_close_channel", "maybe_switch_next", "qos_semantics_matches_spec"),
                *("register_with_event_loop", "resolve_aliases", "revive"),
                "supports_exchange_type",
                *("supports_heartbeats", "switch", "transport_cls"),
            ),
            WIRE,
        ),
        **dict.fromkeys(
            (
                *("channel_errors", "connection_errors", "recoverable_channel_errors"),
                "recoverable_connection_errors",
            ),
            ERRORS,
        ),
        **dict.fromkeys(
            (
                *("connect_timeout", "credential_provider", "host", "hostname", "port"),
                *("login_method", "password", "ssl", "transport_options", "uri_prefix", "userid"),
                "virtual_host",
            ),
            PLACE,
        ),
    },
    "Queue": dict.fromkeys(
        (
            *(*_DECLARING, "ContentDisallowed", "cancel", "consume", "get", "purge"),
            *("queue_bind", "queue_declare", "queue_unbind"),
        ),
        ENTITY,
    ),
    "Exchange": {
        **dict.fromkeys((*_DECLARING, "Message", "binding", "publish"), ENTITY),
        **dict.fromkeys(
            ("PERSISTENT_DELIVERY_MODE", "TRANSIENT_DELIVERY_MODE"),
            "is a number here: 2 is persistent, 1 is transient",
        ),
    },
    "binding": dict.fromkeys(("as_dict", "attrs", "bind", "declare", "unbind"), ENTITY),
    "Channel": dict.fromkeys(
        (
            *("basic_publish", "basic_get", "basic_consume", "basic_ack", "exchange_declare"),
            *("queue_bind", "queue_delete"),
        ),
        WIRE,
    ),
    "Producer": dict.fromkeys(
        (
            *("auto_declare", "batch", "declare", "maybe_declare", "on_return", "revive"),
            "supports_batch_publish",
        ),
        WIRE,
    ),
}
