"""Stand-ins for what a shop pays others for: a payment service (HTTP) and a mail server (SMTP).

Both speak the real protocol on the loopback interface. The payment service is as bad as they get:
it refuses some requests, answers some late, and sometimes takes the money and says that it failed.

    python -m demo.services payments 8001
    python -m demo.services mail 8025 DIRECTORY

Port 0 chooses a free one; the first line of output says which. They end with their standard input.
"""

from __future__ import annotations

import email
import json
import mailbox
import random
import signal
import sys
import threading
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

FAILS = 0.05  # share of charges answered by 503, half of them after the money was taken
SLOW = 0.01  # share of charges answered after up to SLOWEST seconds
SLOWEST = 0.8
USUAL = 0.004  # seconds, about, that a charge takes otherwise


class Ledger:
    """The payment service's books: every charge taken, in order, and what each key was answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._receipts: dict[str, str] = {}
        self.charges: list[dict[str, object]] = []
        self.counts = {"taken": 0, "repeated": 0, "refused": 0, "slow": 0}

    def charge(self, key: str, details: dict[str, object]) -> str:
        """Take the money, unless this key was charged before; return the receipt's number."""
        with self._lock:
            if key in self._receipts:
                self.counts["repeated"] += 1
                return self._receipts[key]
            self.charges.append({**details, "key": key})
            self.counts["taken"] += 1
            return self._receipts.setdefault(key, f"R{len(self.charges):06}")

    def count(self, what: str) -> None:
        """Count a trouble that was made."""
        with self._lock:
            self.counts[what] += 1


class PaymentHandler(BaseHTTPRequestHandler):
    """One request: POST or GET /charges, or GET /counts."""

    ledger: Ledger

    def do_POST(self) -> None:
        details = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Idempotency-Key")
        if self.path != "/charges" or not key:
            return self._answer(400, {"error": "Want POST /charges with an Idempotency-Key."})
        trouble = random.random()
        if trouble < SLOW:
            self.ledger.count("slow")
            time.sleep(random.uniform(0.1, SLOWEST))
        else:
            time.sleep(random.uniform(0.5, 1.5) * USUAL)
        if SLOW <= trouble < SLOW + FAILS / 2:
            self.ledger.count("refused")
            return self._answer(503, {"error": "Busy. Nothing was charged."})
        receipt = self.ledger.charge(key, details)
        if SLOW <= trouble < SLOW + FAILS:
            self.ledger.count("refused")
            return self._answer(503, {"error": "The answer was lost on the way back."})
        return self._answer(201, {"receipt": receipt})

    def do_GET(self) -> None:
        if self.path == "/charges":
            return self._answer(200, {"charges": self.ledger.charges})
        if self.path == "/counts":
            return self._answer(200, self.ledger.counts)
        return self._answer(404, {"error": "Want /charges or /counts."})

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except ConnectionError:
            self.close_connection = True  # the client did not wait for so long

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: thousands of requests come."""


class MailHandler(StreamRequestHandler):
    """One SMTP session; each mail is put into the mailbox, unless it has been there before."""

    box: mailbox.Maildir
    seen: set[str]
    lock = threading.Lock()

    def handle(self) -> None:
        self._say("220 localhost takes any mail")
        while line := self.rfile.readline():
            match line[:4].upper().strip():
                case b"EHLO" | b"HELO" | b"MAIL" | b"RCPT" | b"RSET" | b"NOOP":
                    self._say("250 OK")
                case b"DATA":
                    self._say("354 End with a dot on a line of its own")
                    self._deliver(email.message_from_bytes(self._read_mail()))
                    self._say("250 Delivered")
                case b"QUIT":
                    return self._say("221 Bye")
                case _:
                    self._say("502 Not known here")
        return None

    def _deliver(self, mail: Message) -> None:
        with self.lock:
            if mail["Message-ID"] not in self.seen:
                self.box.add(mail)
                self.seen.add(mail["Message-ID"])

    def _read_mail(self) -> bytes:
        lines: list[bytes] = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return b"".join(lines)

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Service(ThreadingTCPServer):
    """A thread for each connection, none of which keeps the process alive."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def payments(port: int) -> Service:
    """Return the payment service, listening."""
    PaymentHandler.ledger = Ledger()
    return Service(("127.0.0.1", port), PaymentHandler)


def mail(port: int, directory: str) -> Service:
    """Return the mail server, listening; mails go to a Maildir."""
    MailHandler.box = mailbox.Maildir(Path(directory))
    MailHandler.seen = {mail["Message-ID"] for mail in MailHandler.box}
    return Service(("127.0.0.1", port), MailHandler)


def serve(service: Service) -> None:
    """Say where the service listens and serve until standard input ends."""
    if not sys.stdin.isatty():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us decides when we end
    host, port = service.server_address[:2]
    print(f"{host!s}:{port}", flush=True)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    sys.stdin.read()


def main(arguments: list[str]) -> None:
    match arguments:
        case ["payments", port]:
            serve(payments(int(port)))
        case ["mail", port, directory]:
            serve(mail(int(port), directory))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
