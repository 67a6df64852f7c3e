"""Settings of brokers: where messages are kept, and how they are reached."""

from __future__ import annotations

from umbel.settings.declare import (
    anything,
    choice,
    flag,
    mapping,
    number,
    path,
    seconds,
    text,
    transport,
    unused,
    url,
    whole,
)

_IN_THE_URL = "It belongs into broker_url: scheme://user:password@host:port/vhost."
_FOR_EVER = (
    "Workers and clients always connect again, with growing pauses, for as long as it takes; a publish"
    " gives up after broker_publish_timeout."
)


class Brokers:
    """Brokers."""

    broker_url = url(
        None,
        "Where messages are kept, for example sqlite:////var/lib/shop/umbel.db. None: the SQLite"
        " file of the project.",
    )
    broker_read_url = url(
        None,
        "Where workers read messages, if not from broker_url.",
        later="has no effect yet: broker_url is used",
        like="broker_url",
    )
    broker_write_url = url(
        None,
        "Where clients send messages, if not to broker_url.",
        later="has no effect yet: broker_url is used",
        like="broker_url",
    )
    state_url = url(
        None,
        "Where the state of a fleet is kept, such as the last runs of periodic tasks, or who listens to a"
        " broadcast. None: broker_url where that keeps state, else result_backend.",
        ours=True,
    )
    broker_transport_options = transport({}, "Options of the broker's engine.")
    broker_highest_priority_first = flag(
        False,
        "On Redis, too, the highest priority is the most urgent. All umbel processes of a broker need the"
        " same value. False: as in Celery, 0 is the most urgent there.",
        ours=True,
    )
    broker_publish_timeout = seconds(
        5.0,
        "Seconds after which a publish that cannot reach the broker raises OperationalError.",
        ours=True,
    )
    broker_connection_timeout = seconds(
        4.0,
        "Seconds that opening a connection may take.",
    )
    broker_use_ssl = anything(
        False,
        "Encrypt connections: True, or a mapping of options such as ssl_ca_certs.",
    )
    broker_heartbeat = number.or_none(
        6,
        "Seconds between signs of life on a connection to RabbitMQ, which gives back what a process holds"
        " that is silent for two to three times as long. 0 or None: none.",
        celery=120,
        why="a machine that is gone is noticed within 20 s",
    )
    broker_heartbeat_checkrate = unused(
        3.0, "The connection checks its heartbeat as often as it has to."
    )
    broker_native_delayed_delivery_queue_type = choice("quorum", "classic")(
        "quorum", "Type of RabbitMQ's queues for calls that are due later."
    )
    broker_pool_limit = unused(
        10, "A process has one connection for each thread that needs one at a time, and no pool."
    )
    broker_pool_acquire_timeout = unused(None, "There is no pool of connections to wait for.")
    broker_failover_strategy = anything(
        None,
        "How the next of several URLs is chosen: round-robin, shuffle or a function.",
        later="has no effect yet: the servers of a URL are tried in their order",
    )
    broker_connection_retry = unused(True, _FOR_EVER)
    broker_connection_retry_on_startup = unused(None, _FOR_EVER)
    broker_connection_max_retries = unused(100, _FOR_EVER)
    broker_channel_error_retry = unused(False, _FOR_EVER)
    broker_login_method = unused(
        None,
        "RabbitMQ is told the user and the password; where the URL names no user, a client's certificate says"
        " who it is.",
    )
    broker_transport = unused(None, _IN_THE_URL)
    broker_host = unused(None, _IN_THE_URL)
    broker_port = unused(None, _IN_THE_URL)
    broker_user = unused(None, _IN_THE_URL)
    broker_password = unused(None, _IN_THE_URL)
    broker_vhost = unused(None, _IN_THE_URL)


class Sqlite:
    """The SQLite engine."""

    data_dir = path(
        None,
        "Directory of the default SQLite file. None: .umbel beside the nearest pyproject.toml or"
        " manage.py above the app's module, else beside the module. UMBEL_DATA_DIR"
        " overrides it.",
        ours=True,
    )
    sqlite_durability = choice("full", "normal")(
        "full",
        "full: a publish or settle returns after its data is on disk. normal: faster; survives the"
        " death of any process, but a power cut may take back the last moments.",
        ours=True,
    )


class Redis:
    """The Redis engine."""

    redis_host = text(None, "The server, where a URL names none.")
    redis_port = whole(None, "The server's port, where a URL names none.")
    redis_db = whole(None, "The database's number, where a URL names none.")
    redis_username = text(None, "The user, where a URL names none.")
    redis_password = text(None, "The password, where a URL has none.")
    redis_max_connections = unused(
        None, "A process has one connection for each thread that needs one at a time, and no pool."
    )
    redis_socket_timeout = seconds.or_none(
        5.0,
        "Seconds that an answer of the server may take.",
        celery=120.0,
        why="a web request must not hang for minutes when the server does",
    )
    redis_socket_connect_timeout = seconds(None, "Seconds that opening a connection may take.")
    redis_socket_keepalive = unused(
        False, "The system always tests idle connections: a dead server is noticed within 15 s."
    )
    redis_retry_on_timeout = unused(
        False, "A call that timed out is always tried again, in a way that does it once."
    )
    redis_backend_use_ssl = mapping(None, "TLS options of the result store.")
    redis_backend_health_check_interval = seconds(
        None, "Seconds of silence after which a connection that waits for results is tested."
    )
    redis_backend_credential_provider = anything(
        None, "What gives user and password, for credentials that change."
    )
    redis_client_name = text(None, "What connections are called at the server.")
