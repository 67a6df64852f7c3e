"""What an engine is given of the settings: one mapping, whatever the settings are called."""

from __future__ import annotations

from typing import Any

from umbel.settings.table import Settings

#: Settings of Celery's result store on Redis, and what an address calls them.
_REDIS = {
    "redis_host": "host",
    "redis_port": "port",
    "redis_db": "db",
    "redis_username": "username",
    "redis_password": "password",
    "redis_client_name": "client_name",
    "redis_backend_use_ssl": "ssl",
    "redis_backend_health_check_interval": "health_check_interval",
    "redis_backend_credential_provider": "credential_provider",
}


def engine_options(settings: Settings, *, broker: bool, results: bool) -> dict[str, Any]:
    """Return the options of an engine that is the broker, the result store, or both.

    Transport options count more than settings of their own. The password of a result store is for no
    other server.
    """
    options: dict[str, Any] = {
        "durability": settings.sqlite_durability,
        "message_max_bytes": settings.message_max_bytes,
        "socket_timeout": settings.redis_socket_timeout,
        "socket_connect_timeout": settings.redis_socket_connect_timeout
        or settings.broker_connection_timeout,
    }
    if results:
        given = settings.result_backend_transport_options
        for name, option in _REDIS.items():
            value = getattr(settings, name)
            if value is not None:
                options[option] = value
        options |= given
        options["result_keyprefix"] = given.get("global_keyprefix", "")
        options["result_persistent"] = settings.result_persistent
    if broker:
        if settings.broker_use_ssl:
            options["ssl"] = settings.broker_use_ssl
        options.pop("global_keyprefix", None)
        options["broker_highest_priority_first"] = settings.broker_highest_priority_first
        options["heartbeat"] = settings.broker_heartbeat or 0
        options["delayed_queue_type"] = settings.broker_native_delayed_delivery_queue_type
        options["queue_max_priority"] = settings.task_queue_max_priority
        options |= settings.broker_transport_options
    return options
