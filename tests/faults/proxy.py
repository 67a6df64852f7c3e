"""A proxy before a server: it passes on what both sides say, and does harm to the connections.

It can also be a network that passes nothing on for a while, or little, and lose answers to certain calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

T = TypeVar("T")

#: What can be done to a connection: end it at once; hold back for a while what is said next; pass on half of
#: the next call, or of the next answer, and then end it.
CUT, DELAY, HALF_A_CALL, HALF_AN_ANSWER = HARMS = ("cut", "delay", "half a call", "half an answer")
#: Seconds of a short delay, and of one of ten, which is longer than clients wait.
SHORT, LONG = (0.02, 0.3), 1.5
#: One bit of what is said is another one.
FLIP = "flip"
#: The answer to what is said next is not passed on, and the connection ended.
NO_ANSWER = "no answer"


class Proxy:
    """Passes connections on to a port of this machine; use it in a ``with`` statement.

    Its work is done by a thread of its own.
    """

    def __init__(self, port: int, dice: random.Random) -> None:
        self._target = port
        self._dice = dice
        self._pairs: set[_Pair] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        #: How often each harm was done.
        self.done: Counter[str] = Counter()
        self.port = 0
        #: Set while anything is passed on.
        self._open = asyncio.Event()
        self._open.set()
        #: Seconds that each piece takes, and bytes that pass in a second (0: as many as there are).
        self._latency, self._rate = 0.0, 0
        #: After how many bytes of calls, or of answers, the next connection ends.
        self._ending: tuple[str, int] | None = None
        #: What calls have in them whose answers are lost, how often one is, and how many there were.
        self._lost, self._every, self._asked = b"", 0, 0
        #: In how many bytes one bit is changed, 0 for never, and how many are left until the next.
        self._flips, self._left = 0, 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """The URL of the server's first database, through the proxy."""
        return f"redis://127.0.0.1:{self.port}/0"

    def harm(self) -> None:
        """Do one kind of harm to one connection, now or when something is said there."""
        self._loop.call_soon_threadsafe(self._harm, self._dice.choice(HARMS))

    def calm(self) -> None:
        """Do no more harm than was done."""

        async def forget() -> None:
            for pair in self._pairs:
                pair.harm = None

        self._run(forget())

    def silence(self) -> None:
        """Pass nothing on, though connections are accepted."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def cut_all(self) -> None:
        """End all connections that there are; what was held back is lost."""

        async def end() -> None:
            for pair in list(self._pairs):
                pair.end()

        self._run(end())

    def heal(self) -> None:
        """Pass on what was held back, and what comes."""
        self._loop.call_soon_threadsafe(self._open.set)

    def slow_down(self, latency: float, rate: int = 0) -> None:
        """Let each piece of what is said take so many seconds, and so many bytes pass in one."""
        self._latency, self._rate = latency, rate

    def cut_after(self, count: int, half: str) -> None:
        """End the next connection after so many bytes of its calls (`HALF_A_CALL`), or of its answers."""
        self._ending = half, count

    def lose_answers(self, to: bytes, every: int) -> None:
        """Lose the answer to one of so many calls that have these bytes in them."""
        self._lost, self._every = to, every

    def flip(self, every: int) -> None:
        """Change one bit in about so many bytes; 0 is none."""
        self._left, self._flips = self._dice.randint(0, 2 * every), every

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)

    # In the thread

    def _harm(self, kind: str) -> None:
        free = [pair for pair in self._pairs if pair.harm is None]
        if not free:
            return
        pair = self._dice.choice(free)
        if kind == CUT:
            self.done[CUT] += 1
            pair.end()
        else:
            pair.harm = kind

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, there[1])
        pair.ending, self._ending = self._ending, None
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, there[1], pair, HALF_A_CALL))
                group.create_task(self._pass_on(there[0], writer, pair, HALF_AN_ANSWER))
        finally:
            self._pairs.discard(pair)
            pair.end()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair, half: str
    ) -> None:
        """Pass on one direction until it ends, which ends the other one, too."""
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._hold_back(len(data))
                if pair.ending is not None and pair.ending[0] == half:
                    left = pair.ending[1] - len(data)
                    if left < 0:
                        self.done[CUT] += 1
                        writer.write(data[:left])
                        await writer.drain()
                        break
                    pair.ending = half, left
                if half == HALF_A_CALL and self._every and self._lost in data:
                    self._asked += 1
                    if self._asked % self._every == 0:
                        pair.harm = NO_ANSWER
                elif half == HALF_AN_ANSWER and pair.harm == NO_ANSWER:
                    self.done[NO_ANSWER] += 1
                    break
                if pair.harm == DELAY:
                    pair.harm = None
                    self.done[DELAY] += 1
                    await asyncio.sleep(self._seconds())
                elif pair.harm == half:
                    self.done[half] += 1
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    break
                writer.write(self._flipped(data))
                await writer.drain()
        pair.end(at_once=False)

    def _flipped(self, data: bytes) -> bytes:
        """Return what is passed on of this."""
        if not self._flips:
            return data
        changed = bytearray(data)
        while self._left < len(data):
            changed[self._left] ^= 1 << self._dice.randrange(8)
            self._left += self._dice.randint(1, 2 * self._flips)
            self.done[FLIP] += 1
        self._left -= len(data)
        return bytes(changed)

    async def _hold_back(self, size: int) -> None:
        """Take as long as the network does."""
        if self._latency or self._rate:
            await asyncio.sleep(self._latency + (size / self._rate if self._rate else 0.0))
        await self._open.wait()

    def _seconds(self) -> float:
        return LONG if self._dice.random() < 0.1 else self._dice.uniform(*SHORT)

    async def _end(self) -> None:
        self._open.set()
        self._server.close()
        for pair in list(self._pairs):
            pair.end()
        await self._server.wait_closed()
        while self._pairs:
            await asyncio.sleep(0.001)


class _Pair:
    """Both ends of a connection, and the harm that awaits it."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers
        self.harm: str | None = None
        #: After how many more bytes in a direction it ends.
        self.ending: tuple[str, int] | None = None

    def end(self, at_once: bool = True) -> None:
        """Close both ends: with what has been written, or without."""
        for writer in self._writers:
            if at_once:
                writer.transport.abort()
            else:
                writer.close()
