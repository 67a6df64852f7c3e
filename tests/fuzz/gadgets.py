"""Data that would run a command if it were unpickled, or called as it says, wherever umbel reads data.

``python -m tests.fuzz.gadgets`` reads each of them under an audit hook and reports, as JSON, how it ended
and what it did. The command writes a file, so that no hole of the hook hides one that was run. Importing
this makes files; tests run it.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import socket
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.watch import Watch
from umbel import message, records
from umbel.engines.redis import documents, envelope
from umbel.engines.sqlite import rows
from umbel.exceptions import ContentDisallowed, DecodeError
from umbel.message import Message
from umbel.records import ResultRecord
from umbel.settings import Config
from umbel.worker.forkserver import Channel
from umbel.worker.nodes import NodeDirectory
from umbel.worker.page import _STATES_AT as STATES_AT
from umbel.worker.page import CAPACITY, SIZE, Page

KEYS_AT = STATES_AT + CAPACITY
ACCEPT = ("json", "yaml", "msgpack")
FORM = Config({"accept_content": ACCEPT}).snapshot
HEADERS = {"task": "task", "id": "id"}
PICKLE_TYPE = "application/x-python-serialize"
PLACE = tempfile.TemporaryDirectory(prefix="umbel-gadgets-")
FIRED = Path(PLACE.name) / "fired"
COMMAND = f"echo fired >> {FIRED}"


class Gadget:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        """Return what unpickling calls."""
        return os.system, (COMMAND,)


PICKLED = pickle.dumps(Gadget())
PICKLED_RESULT = pickle.dumps({"status": "SUCCESS", "result": Gadget(), "task_id": "id"})
PICKLED_CALL = pickle.dumps(([Gadget()], {}, {}))
YAML = f'!!python/object/apply:os.system ["{COMMAND}"]'
EXCEPTION = {"exc_type": "system", "exc_module": "os", "exc_message": [COMMAND]}
NESTED = {"exc_type": "Popen", "exc_module": "subprocess", "exc_message": [["sh", "-c", COMMAND]]}
EXTENDED = {"__type__": "os.system", "__value__": COMMAND}


def body(data: bytes, content_type: str, **headers: Any) -> Callable[[], Any]:
    """Return what reads a message with this body."""
    sent = Message({**HEADERS, **headers}, {}, data, content_type)
    return lambda: message.decode(sent, ACCEPT)


def headers(**more: Any) -> Callable[[], Any]:
    """Return what reads a message with these headers, as each engine keeps them."""
    text = json.dumps({**HEADERS, **more})
    raw = b'{"body": "W1tdLHt9LHt9XQ==", "content-type": "application/json", "headers": %s,' % (
        text.encode()
    )
    raw += b'"properties": {"body_encoding": "base64"}}'

    def read() -> None:
        message.decode(
            rows.message((text, text, "application/json", "utf-8", b"[[],{},{}]")), ACCEPT
        )
        message.decode(envelope.read(raw, "queue", 0, "key").message, ACCEPT)

    return read


def result(document: str | bytes) -> Callable[[], Any]:
    """Return what reads a result as a client does, and as the Redis engine finds its state."""

    def read() -> None:
        data = document.encode() if isinstance(document, str) else document
        documents.shown_state(data)
        records.decode(ResultRecord("id", "SUCCESS", document), FORM)

    return read


def failed(error: Any, **more: Any) -> Callable[[], Any]:
    """Return what reads the result of a task that failed so."""
    return result(json.dumps({"status": "FAILURE", "result": error, "task_id": "id", **more}))


def state_files(lock: bytes, page: bytes) -> Callable[[], Any]:
    """Return what takes over from a node that died and left these files."""
    base = Path(tempfile.mkdtemp(dir=PLACE.name))
    dead = base / "dead"
    dead.mkdir()
    (dead / "lock").write_bytes(lock)
    (dead / "child.page").write_bytes(page.ljust(SIZE, b"\0"))
    own = NodeDirectory(base, "own")

    def read() -> None:
        (found,) = own.dead_nodes()
        found.forget()

    return read


def broken_page(states: int, key: bytes) -> bytes:
    """Return a child's page in which a delivery has a state and a key of somebody's choice."""
    path = Path(tempfile.mkdtemp(dir=PLACE.name)) / "page"
    page = Page.create(path)
    page.identify(1, 1.0, "owner")
    page.load(["1.1"])
    page.close()
    data = bytearray(path.read_bytes())
    data[STATES_AT] = states
    data[KEYS_AT : KEYS_AT + len(key)] = key
    return bytes(data)


def between_processes(line: bytes) -> Callable[[], Any]:
    """Return what a supervisor, fork server or child makes of a line from another of them."""
    ours, theirs = socket.socketpair()
    theirs.sendall(line + b"\n")
    return Channel(ours).receive


CASES: dict[str, Callable[[], Any]] = {
    "pickle as a body": body(PICKLED_CALL, PICKLE_TYPE),
    "pickle as a body, by its other name": body(PICKLED_CALL, "application/x-pickle"),
    "pickle as a body that says it is JSON": body(PICKLED_CALL, "application/json"),
    "pickle as a body that says it is msgpack": body(PICKLED_CALL, "application/x-msgpack"),
    "pickle as a compressed body": body(
        zlib.compress(PICKLED_CALL), PICKLE_TYPE, compression="application/x-gzip"
    ),
    "pickle as a signed body, without keys": body(PICKLED_CALL, "application/data"),
    "YAML as a body": body(f"- [{YAML}]\n- {{}}\n- {{}}".encode(), "application/x-yaml"),
    "YAML as a body that says it is JSON": body(YAML.encode(), "application/json"),
    "an extended type in a body": body(
        json.dumps([[EXTENDED], {}, {}]).encode(), "application/json"
    ),
    "pickle in a header": headers(origin=base64.b64encode(PICKLED).decode()),
    "pickle as the compression": headers(compression=PICKLE_TYPE),
    "an extended type in a header": headers(stamps=EXTENDED),
    "an exception in a header": headers(exc=EXCEPTION, errbacks=[EXCEPTION]),
    "pickle as an envelope": lambda: message.decode(
        envelope.read(PICKLED, "queue", 0, "key").message, ACCEPT
    ),
    "pickle as a result": result(PICKLED_RESULT),
    "pickle as a compressed result": result(
        records.COMPRESSED + b"application/x-gzip\0" + zlib.compress(PICKLED_RESULT)
    ),
    "YAML as a result": result(f"status: SUCCESS\nresult: {YAML}\n".encode()),
    "a command as an exception": failed(EXCEPTION),
    "a process as an exception": failed(NESTED),
    "a group of commands as an exception": failed(
        {
            "exc_type": "ExceptionGroup",
            "exc_module": "builtins",
            "exc_message": ["x", [EXCEPTION, NESTED]],
        }
    ),
    "an exception of a module that is not imported": failed({**EXCEPTION, "exc_module": "this"}),
    "an exception by a dotted name": failed({**EXCEPTION, "exc_type": "path.os.system"}),
    "a command among a result's children": failed(None, children=[[["id", EXTENDED], [EXCEPTION]]]),
    "pickle as a node's lock": state_files(PICKLED, b""),
    "a list as a node's lock": state_files(b"[1]", b""),
    "pickle as a child's page": state_files(b"{}", PICKLED),
    "a state that does not exist in a child's page": state_files(b"{}", broken_page(99, b"1.1")),
    "pickle as a key in a child's page": state_files(b"{}", broken_page(2, PICKLED[:40])),
    "pickle between processes": between_processes(PICKLED),
    "an extended type between processes": between_processes(json.dumps(EXTENDED).encode()),
}
#: Taking over from a node opens and deletes its files.
OWN_FILES = tuple(name for name in CASES if name.endswith(("page", "lock")))
FILES = ("open ", "os.listdir ", "os.scandir ", "os.remove ", "os.rmdir ", "shutil.rmtree ")


def ended(read: Callable[[], Any]) -> str:
    """Return how a reading ended."""
    try:
        read()
    except (DecodeError, ContentDisallowed) as error:
        return f"refused: {error}"[:200]
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        return f"{type(error).__name__}: {error}"[:200]
    return "read"


def main() -> int:
    """Read everything and report."""
    watch, report = Watch(), {}
    records.decode(ResultRecord("id", "SUCCESS", b"status: SUCCESS\nresult: 1\n"), FORM)  # imports
    records.decode(ResultRecord("id", "SUCCESS", b"\x81\xa6status\xa7SUCCESS"), FORM)
    # At last the proof that the gadgets work, and that the hook hears them.
    for name, read in (*CASES.items(), ("unpickled", lambda: pickle.loads(PICKLED))):  # noqa: S301 - its purpose
        with watch.watching():
            end = ended(read)
        seen = [one for one in watch.seen if not (name in OWN_FILES and one.startswith(FILES))]
        watch.seen.clear()
        report[name] = {"end": end, "seen": seen, "fired": FIRED.exists()}
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
