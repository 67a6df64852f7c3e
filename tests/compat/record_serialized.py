"""Record messages and results of all serializers and compressions from real Celery 5.7.0.

Run by hand like ``record_golden.py``, from the root of the repository, with ``PyYAML``, ``msgpack``,
``brotli`` and, before Python 3.14, ``backports.zstd`` installed too::

    python -m tests.compat.record_serialized [output directory]

The files are written to ``golden/serialized``. Messages are as ``record_golden.py`` describes them; in result
files ``raw`` is the document in base64, and ``value`` what the task returned.
"""

# Celery and kombu have no type information, and need not be installed to type-check.
# mypy: disable-error-code="import-not-found,import-untyped,misc,no-untyped-call"
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import base64
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from celery.exceptions import Reject

from tests.compat import record_golden as golden
from tests.compat.record_golden import TASK_ID, App, FakePipeline, Recorder, describe, jsonable

MOMENT = datetime(2049, 12, 31, 23, 59, 58, 999, UTC)
SHARED = [1, "two"]

#: Arguments that each serializer takes.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "json": (1, "größe", MOMENT, b"\x00\xff", [None, True, 1.5]),
    "pickle": (1, "größe", MOMENT, Decimal("1.50"), (b"\x00\xff", (2,)), [None, True, 1.5]),
    "yaml": (
        1,
        "größe",
        MOMENT,
        date(2049, 12, 31),
        b"\x00\xff",
        [None, True, 1.5],
        SHARED,
        SHARED,
    ),
    "msgpack": (1, "größe", 2**40, b"\x00\xff", [None, True, 1.5], {"a": {"b": [-1]}}),
}
COMPRESSIONS = ("gzip", "bzip2", "lzma", "brotli", "zstd")


class BytesPipeline(FakePipeline):
    """A pipeline that takes results which are no text."""

    def setex(self, key: bytes, expires: int, value: Any) -> None:
        """Store a result."""
        data = value.encode() if isinstance(value, str) else bytes(value)
        self.client.data[key] = data
        self.client.writes.append((key.decode(), expires, base64.b64encode(data).decode()))


def bytes_pipeline(client: golden.FakeRedis) -> BytesPipeline:
    """Return a pipeline of a client."""
    return BytesPipeline(client)


golden.FakeRedis.pipeline = bytes_pipeline  # type: ignore[assignment,method-assign]


def record_messages(r: Recorder) -> None:
    """Record a call by each serializer, plain and compressed, and by protocol 1."""
    for name, args in ARGUMENTS.items():
        if name != "json":
            r.apply_async(name, args, {"z": "ü"}, serializer=name)
            r.apply_async(f"{name}-v1", args, {"z": 1}, serializer=name, app=App(task_protocol=1))
        for compression in COMPRESSIONS:
            r.apply_async(
                f"{name}-{compression}",
                args,
                {"x": "y" * 500},
                serializer=name,
                compression=compression,
            )
    r.apply_async("setting", (1,), app=App(task_compression="bzip2", task_serializer="yaml"))


def record_results(r: Recorder) -> None:
    """Record results by each serializer."""
    for serializer in ("json", "pickle", "yaml", "msgpack"):
        for compression in (None, "gzip", "zstd") if serializer != "json" else ("gzip", "bzip2"):
            name = f"result-{serializer}-{compression}" if compression else f"result-{serializer}"
            conf = {"result_serializer": serializer, "result_compression": compression}
            record_result(r, name, conf, "echo", (1, "größe", None))
        conf = {"result_serializer": serializer}
        record_result(r, f"result-{serializer}-error", conf, "divide", (1, 0))
        record_result(r, f"result-{serializer}-custom-error", conf, "pay", (5,))
        record_result(r, f"result-{serializer}-odd-error", conf, "odd", ())
        record_result(r, f"result-{serializer}-own-error", conf, "refuse", ())
    extended = {"result_serializer": "msgpack", "result_extended": True}
    record_result(r, "result-msgpack-extended", extended, "echo", (1,))


def record_result(
    r: Recorder, name: str, conf: dict[str, Any], task: str, args: tuple[Any, ...]
) -> None:
    """Record what a worker stores for a task."""
    app = App(**conf)

    class OddError(Exception):
        """Cannot be pickled, as it is found nowhere."""

    @app.celery.task(name="proj.odd", shared=False)
    def odd() -> None:
        raise OddError({1}, "odd")

    @app.celery.task(name="proj.refuse", shared=False)
    def refuse() -> None:
        app.celery.backend.mark_as_failure(TASK_ID, Reject("bad"))

    tasks = {"odd": odd, "refuse": refuse}
    called = tasks.get(task) or getattr(app, task)
    call = describe(app, "run", task=f"proj.{task}", args=jsonable(list(args)), options={})
    if task == "refuse":
        app.celery.backend.mark_as_failure(TASK_ID, Reject("bad"), "Traceback")
    else:
        app.run(called, args, task_id=TASK_ID)
    key, expires, raw = app.redis.writes[-1]
    r.write(
        {
            "name": name,
            "call": call,
            "key": key,
            "expires": expires,
            "raw": raw,
            "celery": golden.CELERY_VERSION,
        }
    )


def main(argv: list[str]) -> int:
    """Record everything into the directory named in ``argv``."""
    default = Path(__file__).parent / "golden" / "serialized"
    directory = Path(argv[0]) if argv else default
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.json"):
        old.unlink()
    golden.install_errors_module()
    recorder = Recorder(directory)
    record_messages(recorder)
    record_results(recorder)
    print(f"{len(recorder.names)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
