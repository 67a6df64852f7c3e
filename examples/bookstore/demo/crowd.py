"""All readers of the shop: each is a few requests to its web site, over HTTP."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

from demo.shop import GivenUp

AT_ONCE = 8  # readers who are connected at the same time


class Crowd:
    """Readers, and what they did. Each method does it for some of them, and returns when all is done."""

    def __init__(self, site: str) -> None:
        self.charged: dict[str, str] = {}  # idempotency key → reader: who opened which book
        self.closing = threading.Event()
        self.requests = 0  # that were answered
        self.calls = 0  # of tasks, which the site has sent for them
        self._site = site
        self._tokens: dict[str, tuple[int, str]] = {}  # reader → number, and what proves it
        self._lock = threading.Lock()
        self._local = threading.local()

    def sign_up(self, names: Iterable[str]) -> None:
        """Become readers."""
        self._each(self._sign_up, names)

    def read(self, names: Iterable[str], books: list[int]) -> None:
        """Open a book each; every tenth reader loads the page again."""
        self._each(lambda name: self._read(name, random.choice(books)), names)

    def write(self, names: Iterable[str], place: str) -> list[int]:
        """Write to the shop, one after the other; return the numbers of the conversations."""
        conversations = []
        for name in names:
            said = {"text": f"Dear shop, where is chapter two? {name} 🙂"}
            conversations.append(self._ask("POST", f"/{place}/", said, name)["id"])
            self._count_call()
        return conversations

    def books(self, name: str) -> list[int]:
        """Return the numbers of the books that a reader is offered."""
        return [book["id"] for book in self._ask("GET", "/books/", None, name)]

    def _sign_up(self, name: str) -> None:
        reader = {"username": name, "email": f"{name}@readers.example"}
        answer = self._ask("POST", "/readers/", reader)
        self._tokens[name] = answer["id"], answer["token"]
        self._count_call()

    def _read(self, name: str, book: int) -> None:
        number, _ = self._tokens[name]
        for _ in range(2 if number % 10 == 0 else 1):
            self._ask("GET", f"/books/{book}/", None, name)
            self._count_call()
        self.charged[f"reader {number}, book {book}"] = name

    def _count_call(self) -> None:
        with self._lock:
            self.calls += 1

    def _each(self, act: Callable[[str], None], names: Iterable[str]) -> None:
        def unless_closing(name: str) -> None:
            if not self.closing.is_set():
                act(name)

        with ThreadPoolExecutor(AT_ONCE) as readers:
            for _ in readers.map(unless_closing, names):  # raises what one of them raised
                pass

    def _ask(self, method: str, path: str, body: object = None, name: str | None = None) -> Any:
        """Send a request on the thread's own connection; return what the answer says."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = HTTPConnection(self._site, timeout=30)
        headers = {"Content-Type": "application/json"}
        if name is not None:
            headers["Authorization"] = f"Token {self._tokens[name][1]}"
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        with self._lock:
            self.requests += 1
        if answer.status >= 400:
            raise GivenUp(f"{method} {path} was answered by {answer.status}: {text[:300]}")
        return json.loads(text)
