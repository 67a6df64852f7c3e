"""Settings of Celery's for servers that umbel has no engine for.

They are accepted, since a project may read them elsewhere, and whoever sets one is told.
"""

from __future__ import annotations

from umbel.settings.declare import anything, unused

_NO_ENGINE = "umbel has no engine for this kind of server."


class Elsewhere:
    """Servers without an engine."""

    cache_backend = anything(
        None, "Read by django-celery-results: the name of one of Django's caches."
    )
    cache_backend_options = unused({}, "The cache that cache_backend names has its own options.")
    arangodb_backend_settings = unused(None, _NO_ENGINE)
    azureblockblob_base_path = unused("", _NO_ENGINE)
    azureblockblob_connection_timeout = unused(20, _NO_ENGINE)
    azureblockblob_container_name = unused("celery", _NO_ENGINE)
    azureblockblob_read_timeout = unused(120, _NO_ENGINE)
    azureblockblob_retry_increment_base = unused(2, _NO_ENGINE)
    azureblockblob_retry_initial_backoff_sec = unused(2, _NO_ENGINE)
    azureblockblob_retry_max_attempts = unused(3, _NO_ENGINE)
    cassandra_auth_kwargs = unused(None, _NO_ENGINE)
    cassandra_auth_provider = unused(None, _NO_ENGINE)
    cassandra_bundle_path = unused(None, _NO_ENGINE)
    cassandra_entry_ttl = unused(None, _NO_ENGINE)
    cassandra_keyspace = unused(None, _NO_ENGINE)
    cassandra_options = unused({}, _NO_ENGINE)
    cassandra_port = unused(None, _NO_ENGINE)
    cassandra_read_consistency = unused(None, _NO_ENGINE)
    cassandra_secure_bundle_path = unused(None, _NO_ENGINE)
    cassandra_servers = unused(None, _NO_ENGINE)
    cassandra_table = unused(None, _NO_ENGINE)
    cassandra_write_consistency = unused(None, _NO_ENGINE)
    cosmosdbsql_collection_name = unused("celerycol", _NO_ENGINE)
    cosmosdbsql_consistency_level = unused("Session", _NO_ENGINE)
    cosmosdbsql_database_name = unused("celerydb", _NO_ENGINE)
    cosmosdbsql_max_retry_attempts = unused(9, _NO_ENGINE)
    cosmosdbsql_max_retry_wait_time = unused(30, _NO_ENGINE)
    couchbase_backend_settings = unused(None, _NO_ENGINE)
    elasticsearch_max_retries = unused(None, _NO_ENGINE)
    elasticsearch_retry_on_timeout = unused(None, _NO_ENGINE)
    elasticsearch_save_meta_as_text = unused(True, _NO_ENGINE)
    elasticsearch_timeout = unused(None, _NO_ENGINE)
    gcs_base_path = unused("", _NO_ENGINE)
    gcs_bucket = unused(None, _NO_ENGINE)
    gcs_project = unused(None, _NO_ENGINE)
    gcs_ttl = unused(0, _NO_ENGINE)
    mongodb_backend_settings = unused(None, _NO_ENGINE)
    s3_access_key_id = unused(None, _NO_ENGINE)
    s3_base_path = unused(None, _NO_ENGINE)
    s3_bucket = unused(None, _NO_ENGINE)
    s3_endpoint_url = unused(None, _NO_ENGINE)
    s3_region = unused(None, _NO_ENGINE)
    s3_secret_access_key = unused(None, _NO_ENGINE)
