"""Options of brokers and result stores: which are heeded, which are not, and what was meant.

Celery hands ``broker_transport_options`` to kombu, which reads what it knows and says nothing of the rest.
Here a slip of the pen is an error where it is written. What other transports or libraries may know is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umbel.nearest import SLIPS, asked, nearest
from umbel.options import warn_once

#: What an engine of ours reads; the pages of the engines in docs/ say what each means.
HEEDED = (
    *("connect_timeout", "create_tables", "poll_interval", "pooler", "schema", "timeout"),
    "queue_name_prefix",
    *(
        "broker_highest_priority_first",
        "client_name",
        "credential_provider",
        "db",
        "delayed_queue_type",
    ),
    *("durability", "heartbeat", "hold_after", "queue_max_priority", "ssl_server_hostname"),
    *("global_keyprefix", "health_check_interval", "host", "master_name", "message_max_bytes"),
    *("min_other_sentinels", "password", "port"),
    *("priority_steps", "queue_order_strategy", "sentinel_kwargs", "sep", "socket_connect_timeout"),
    *("socket_keepalive_options", "socket_timeout", "ssl", "ssl_ca_certs", "ssl_ca_data"),
    *("ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_ciphers"),
    *("ssl_keyfile", "ssl_min_version", "ssl_password", "unacked_index_key", "unacked_key"),
    *("unacked_mutex_key", "username", "virtual_host", "visibility_timeout", "wait_replicas"),
)

_NO_POOL = "A process has one connection for each thread that needs one at a time, and no pool."
_REPEATED = "A call that timed out is always tried again, in a way that does it once."
_KEPT_ALIVE = "The system always tests idle connections."
_TIMEOUT = "A publish is repeated until broker_publish_timeout is over."
_LEASES = (
    "Messages are leased; only what Celery's workers held is returned, after visibility_timeout."
)
_BROADCASTS = "Only kombu's broadcasts have it, and umbel has its own."
_WAITS = "Idle workers wait for messages, and do not ask again and again."

#: What other clients of these servers read: the values that need no word (kombu's, or what is always so),
#: and why others have no effect.
NEEDLESS: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "ack_emulation": ((True,), _LEASES),
    "additional_connection_errors": ((None, ()), "Lost connections are always opened again."),
    "body_encoding": (("base64",), "Bodies always travel as base64, as kombu writes them."),
    "confirm_publish": ((True, False), "A publish is always confirmed."),
    "decode_responses": ((False,), "Answers are always read as bytes."),
    "errback": ((None,), _TIMEOUT),
    "fanout_patterns": ((True,), _BROADCASTS),
    "fanout_prefix": ((True,), _BROADCASTS),
    "interval_max": ((None,), _TIMEOUT),
    "interval_start": ((None,), _TIMEOUT),
    "interval_step": ((None,), _TIMEOUT),
    "max_connections": ((None, 10), _NO_POOL),
    "max_retries": ((None,), _TIMEOUT),
    "polling_interval": ((None,), _WAITS),
    "result_chord_ordered": ((True,), "A chord's results always come in the order of its header."),
    "retry_on_error": ((None, []), _REPEATED),
    "retry_on_timeout": ((None, True), _REPEATED),
    "retry_policy": ((None,), "Calls are repeated until their time is over."),
    "sentinel_fanout_compat": ((None, False), _BROADCASTS),
    "socket_keepalive": ((None, True), _KEPT_ALIVE),
    "unacked_mutex_expire": ((300,), _LEASES),
    "unacked_restore_interval": ((10,), _LEASES),
    "unacked_restore_limit": ((None,), _LEASES),
    "unacked_restore_throttle": ((10,), _LEASES),
}

#: What means something to kombu's transports of other servers: no misspelling of anything.
FOREIGN = (
    *("client", "client_properties", "conn_string", "control_folder"),
    *("data_folder_in", "data_folder_out", "deadletter_queue", "encoding"),
    "fetch_message_attributes",
    *("fifo_mode", "is_secure", "login_method", "max_poll_seconds", "message_tablename", "path"),
    *("pool_timeout", "predefined_exchanges", "predefined_queues", "processed_folder", "protocol"),
    *("queue_tablename", "queue_tags", "read_timeout", "region", "regioninfo"),
    *("retry", "retry_total", "secure", "socket_read_size", "socket_settings", "ssl_ocsp_context"),
    *("store_processed", "sts_role_arn", "sts_token_timeout", "supports_fanout"),
    *("use_notify", "wait_time_seconds", "write_timeout"),
)

_ALL = (*HEEDED, *NEEDLESS, *FOREIGN)


def checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options. Raises ValueError for a name that is almost, but not quite, a known one.

    Says once of each that has no effect that it has none, and why.
    """
    for name, value in options.items():
        if name in NEEDLESS:
            silent, why = NEEDLESS[name]
            if value not in silent:
                warn_once(f"The transport option {name} has no effect. {why}")
        elif name not in _ALL and isinstance(name, str):
            guess = nearest(name, _ALL, min(SLIPS, len(name) // 3))
            if guess is not None:
                raise ValueError(f"There is no option {name!r}.{asked(guess)}")
    return dict(options)
