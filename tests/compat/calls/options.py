"""The options of a call, of ``@app.task`` and the settings behind them, but for times and routes."""

from __future__ import annotations

from tests.compat.calls.model import Case, sends

LONG = ("x" * 500,)


def _id(number: int) -> str:
    return f"11111111-0000-4000-8000-{number:012d}"


PRIORITIES = [
    sends("priority", priority=5),
    sends("priority-zero", priority=0),
    sends("priority-none", priority=None),
    sends("priority-255", priority=255),
    sends("priority-256", priority=256),
    sends("priority-negative", priority=-1),
    sends("priority-text", priority="5"),
    sends("priority-float", priority=5.0),
    sends("priority-of-task", task={"priority": 3}),
    sends("priority-of-task-and-call", priority=7, task={"priority": 3}),
    sends("priority-zero-of-call-and-task", priority=0, task={"priority": 3}),
    sends("priority-none-of-call-and-task", priority=None, task={"priority": 3}),
    sends("priority-of-settings", conf={"task_default_priority": 4}),
    sends("priority-of-settings-and-task", task={"priority": 3}, conf={"task_default_priority": 4}),
    sends("priority-of-settings-and-call", priority=6, conf={"task_default_priority": 4}),
    sends("priority-most-of-queues", priority=6, conf={"task_queue_max_priority": 10}),
]

LIMITS = [
    sends("limits", time_limit=30, soft_time_limit=20.5),
    sends("limit-hard", time_limit=30),
    sends("limit-soft", soft_time_limit=20),
    sends("limit-zero", time_limit=0, soft_time_limit=0),
    sends("limit-negative", time_limit=-5),
    sends("limit-text", time_limit="30"),
    sends("limits-crossed", time_limit=20, soft_time_limit=30),
    sends("limits-of-task", task={"time_limit": 30, "soft_time_limit": 20}),
    sends("limits-of-task-and-call", time_limit=60, task={"time_limit": 30, "soft_time_limit": 20}),
    sends("limit-of-task-taken-back", time_limit=None, task={"time_limit": 30}),
    sends("limits-of-task-crossed", task={"time_limit": 20, "soft_time_limit": 30}),
    sends("limits-crossed-between", soft_time_limit=30, task={"time_limit": 20}),
    sends("limits-of-settings", conf={"task_time_limit": 30, "task_soft_time_limit": 20}),
    sends("limits-of-settings-and-task", task={"time_limit": 5}, conf={"task_time_limit": 30}),
    sends("limits-of-settings-crossed", conf={"task_time_limit": 20, "task_soft_time_limit": 30}),
]

IGNORED = [
    sends("ignore-result", ignore_result=True),
    sends("ignore-result-false", ignore_result=False),
    sends("ignore-result-none", ignore_result=None),
    sends("ignore-result-of-task", task={"ignore_result": True}),
    sends("ignore-result-of-task-not-call", ignore_result=False, task={"ignore_result": True}),
    sends("ignore-result-of-settings", conf={"task_ignore_result": True}),
    sends(
        "ignore-result-of-settings-not-task",
        task={"ignore_result": False},
        conf={"task_ignore_result": True},
    ),
    sends(
        "ignore-result-of-settings-not-call", ignore_result=False, conf={"task_ignore_result": True}
    ),
    sends("ignore-result-number", ignore_result=1),
]

IDS = [
    sends("task-id", task_id="my-own-id"),
    sends("task-id-empty", task_id=""),
    sends("task-id-number", task_id=7),
    sends("task-id-long", task_id="i" * 300),
    sends("root-and-parent", root_id=_id(8), parent_id=_id(9)),
    sends("root-only", root_id=_id(8)),
    sends("parent-only", parent_id=_id(9)),
    sends("group", group_id=_id(7), group_index=3),
    sends("group-index-only", group_index=3),
    sends("retries", retries=2),
    sends("reply-to", reply_to="my-replies"),
    sends("reply-to-empty", reply_to=""),
    sends("correlation-id", correlation_id="my-correlation"),
    sends("origin", origin="me@host"),
    sends("shadow", shadow="proj.alias"),
    sends("shadow-empty", shadow=""),
    sends("replaced-task-nesting", replaced_task_nesting=2),
    sends("stamps", stamped_headers=["monitor"], monitor=["m-1"]),
    sends("stamps-many", stamped_headers=["a", "b"], a="1", b=["2"]),
    sends("stamps-none", stamped_headers=[]),
    sends("add-to-parent", add_to_parent=False),
]

HEADERS = [
    sends("headers", headers={"x-trace": "abc", "attempt": 1, "tags": ["a", "b"], "none": None}),
    sends("headers-none", headers=None),
    sends("headers-empty", headers={}),
    sends("headers-unicode", headers={"größe": "日本語 😀"}),
    sends("headers-nested", headers={"x": {"y": {"z": [1.5, True]}}}),
    sends("headers-over-own", headers={"shadow": "other", "lang": "c", "retries": 7}),
    sends("headers-over-task", headers={"task": "proj.other"}),
    sends("headers-over-id", headers={"id": _id(5)}),
    sends("headers-list", headers=["x"]),
    sends("headers-pairs", headers=[("x", "y")]),
    sends("headers-number-key", headers={1: 2}),
]

PUBLISHING = [
    sends("retry-true", retry=True),
    sends("retry-false", retry=False),
    sends("retry-none", retry=None),
    sends("retry-policy", retry_policy={"max_retries": 1, "interval_start": 0}),
    sends("retry-policy-empty", retry_policy={}),
    sends("retry-policy-unknown", retry_policy={"tries": 1}),
    sends("retry-policy-list", retry_policy=[1]),
    sends("delivery-mode-1", delivery_mode=1),
    sends("delivery-mode-2", delivery_mode=2),
    sends("delivery-mode-transient", delivery_mode="transient"),
    sends("delivery-mode-persistent", delivery_mode="persistent"),
    sends("delivery-mode-wrong", delivery_mode="sometimes"),
    sends("delivery-mode-of-settings", conf={"task_default_delivery_mode": "transient"}),
    sends("delivery-mode-of-task", task={"delivery_mode": "transient"}),
    sends("mandatory", mandatory=True),
    sends("timeout", timeout=3, confirm_timeout=4),
    sends("message-properties", app_id="shop", type="order", user_id="guest", message_id="m-1"),
    sends("expiration", expiration=7),
    sends("no-connection", connection=None, producer=None, publisher=None, router=None),
    sends("no-links", link=None, link_error=None, chain=None, chord=None),
    sends("unknown-option", colour="red"),
    sends("misspelt-option", countdwon=5),
    sends("route-name", route_name="proj.other", conf={"task_routes": {"proj.other": "others"}}),
    sends("sent-event", conf={"task_send_sent_event": True}),
]

SERIALIZERS = [
    *(
        sends(
            f"serializer-{name}",
            (1, "zwei", None),
            {"a": [1.5, {"b": True}]},
            serializer=name,
            conf={"accept_content": ["json", name]},
        )
        for name in ("json", "pickle", "yaml", "msgpack")
    ),
    sends("serializer-not-accepted", (1,), serializer="pickle"),
    sends("serializer-unknown", (1,), serializer="toml"),
    sends("serializer-content-type", (1,), serializer="application/json"),
    sends("serializer-none", (1,), serializer=None),
    sends("serializer-of-task", (1,), task={"serializer": "yaml"}),
    sends("serializer-of-task-and-call", (1,), serializer="json", task={"serializer": "yaml"}),
    sends("serializer-of-settings", (1,), conf={"task_serializer": "msgpack"}),
    sends("serializer-unknown-of-settings", (1,), conf={"task_serializer": "toml"}),
    sends("serializer-pickle-set", ({1},), serializer="pickle"),
    sends("serializer-pickle-repr", (({1}, frozenset({2}), set()),), serializer="pickle"),
    sends("serializer-pickle-lambda", (lambda: 1,), serializer="pickle"),
    sends("serializer-yaml-tuple", ((1, 2),), serializer="yaml"),
    sends("serializer-yaml-object", (object(),), serializer="yaml"),
    sends("serializer-msgpack-bytes", (b"\x00\xff",), serializer="msgpack"),
    sends("serializer-msgpack-object", (object(),), serializer="msgpack"),
]

COMPRESSIONS = [
    *(
        sends(f"compression-{name}", LONG, compression=name)
        for name in ("gzip", "zlib", "bzip2", "bzip", "lzma", "xz", "brotli", "zstd", "zstandard")
    ),
    sends("compression-content-type", LONG, compression="application/x-gzip"),
    sends("compression-unknown", LONG, compression="rar"),
    sends("compression-none", LONG, compression=None),
    sends("compression-of-settings", LONG, conf={"task_compression": "gzip"}),
    sends(
        "compression-of-settings-and-call",
        LONG,
        compression="bzip2",
        conf={"task_compression": "gzip"},
    ),
    sends("compression-of-task", LONG, task={"compression": "gzip"}),
    sends("compression-of-pickle", LONG, compression="gzip", serializer="pickle"),
]

V1 = {"task_protocol": 1}
PROTOCOL_1 = [
    sends("protocol-1", (1, 2), {"z": "ü"}, conf=V1),
    sends("protocol-1-times", countdown=90, expires=120, conf=V1),
    sends("protocol-1-options", retries=2, group_id=_id(7), headers={"x": "y"}, conf=V1),
    sends("protocol-1-limits", time_limit=30, soft_time_limit=20, conf=V1),
    sends("protocol-3", (1,), conf={"task_protocol": 3}),
]

ANNOTATIONS = [
    sends("annotation", conf={"task_annotations": {"proj.echo": {"priority": 6}}}),
    sends("annotation-of-all", conf={"task_annotations": {"*": {"time_limit": 9}}}),
    sends("annotations-list", conf={"task_annotations": [{"proj.echo": {"expires": 60}}]}),
]


CASES: list[Case] = [
    *PRIORITIES,
    *LIMITS,
    *IGNORED,
    *IDS,
    *HEADERS,
    *PUBLISHING,
    *SERIALIZERS,
    *COMPRESSIONS,
    *PROTOCOL_1,
    *ANNOTATIONS,
]
