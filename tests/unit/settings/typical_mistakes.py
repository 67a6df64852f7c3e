"""A settings module with the mistakes that people make; `test_mistakes` shows what each is told."""

task_acks_late = "sometimes"  # a wrong type
task_ack_on_failure = True  # a near miss
CELERYD_CONCURENCY = 4  # a near miss of an old name
CELERY_TASK_ALWAYS_EAGER = True  # a prefix, and no namespace
task_serializer = "jsno"  # a serializer that does not exist
accept_content = ["json", "yamll"]  # another
timezone = "Europe/Pari"  # a time zone that does not exist
broker_url = "guest:geheim@localhost:5672"  # a URL without a scheme
result_expires = "5m"  # a duration in words
broker_transport_options = ["wait", 1]  # a list where a mapping belongs
task_default_priority = 300  # too much
task_publish_retry_policy = {"max_retry": 3}  # a key that does not exist
worker_pool = "thread"  # not one of the choices
imports = None  # nothing, where an empty list belongs
BROKR_URL = "memory://"  # a name in upper case that may be a slip, or somebody else's
