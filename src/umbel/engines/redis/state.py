"""What a fleet must agree on, on Redis: each call is a script, and the server's clock decides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from typing import Any

from umbel.engines.redis.broker import RedisBroker
from umbel.engines.redis.server import Argument, Server
from umbel.ports import Change, Changes, StateStore


class RedisState(StateStore):
    """See `umbel.ports.StateStore`; lua/state_common.lua and lua/state_hold.lua describe the keys."""

    def __init__(self, server: Server, broker: Callable[[], RedisBroker]) -> None:
        self._server = server
        self._broker = broker
        self._own = f"{server.prefix}umbel:"

    def hold(self, name: str, owner: str, ttl: float) -> int | None:
        """Read and write the lease in one step; to do so twice does no harm."""
        values = (owner, _milliseconds(ttl))
        term = self._run("hold", [f"{self._own}lease:{name}"], values, repeat=True)
        return None if term is None else int(term)

    def let_go(self, name: str, owner: str) -> bool:
        """End the lease."""
        return bool(self._run("let_go", [f"{self._own}lease:{name}"], [owner]))

    def put(self, kind: str, key: str, value: str, ttl: float | None = None) -> None:
        """Write the value; to do so twice does no harm."""
        self.put_all(kind, {key: value}, ttl)

    def put_all(self, kind: str, values: Mapping[str, str], ttl: float | None = None) -> None:
        """Write the values in one step."""
        if values:
            pairs = ("" if ttl is None else _milliseconds(ttl), 0, *chain(*values.items()))
            self._run("put", self._kind(kind), pairs, repeat=True)

    def put_new(self, kind: str, key: str, value: str, ttl: float | None = None) -> bool:
        """Look and write in one step."""
        values = ("" if ttl is None else _milliseconds(ttl), 1, key, value)
        return bool(self._run("put", self._kind(kind), values))

    def get(self, kind: str, key: str) -> str | None:
        """Read the value and its end in one step."""
        found = self._run("get", self._kind(kind), [key], repeat=True)
        return None if found is None else found.decode()

    def items(self, kind: str) -> dict[str, str]:
        """Read values and ends in one step."""
        return _pairs(self._run("items", self._kind(kind), repeat=True))

    def pick(self, kind: str, keys: Collection[str]) -> dict[str, str]:
        """Read values and ends in one step."""
        return _pairs(self._run("pick", self._kind(kind), list(keys), repeat=True))

    def changes(self, kind: str, since: int, most: int) -> Changes:
        """Read version and values in one step."""
        found = self._run("changes", self._kind(kind), (since, most), repeat=True)
        version, is_all, *values = found
        return Changes(int(version), _pairs(values) if is_all else None)

    def delete(self, kind: str, keys: Collection[str]) -> int:
        """Delete values in one step; those that had expired do not count."""
        return int(self._run("delete", self._kind(kind), list(keys)))

    def version(self, kind: str) -> int:
        """Read the number."""
        return int(self._server.call("GET", self._kind(kind)[2], repeat=True) or 0)

    def change(self, changes: Sequence[Change], timeout: float) -> list[bool]:
        """Let the broker do it, whose script also publishes."""
        return self._broker().change(changes, timeout, self._kind)

    def take(self, bucket: str, amount: float, rate: float, burst: float) -> float:
        """Fill the bucket up to now, then take or tell how long the rest needs."""
        return float(self._run("take", [f"{self._own}bucket:{bucket}"], [amount, rate, burst]))

    def _kind(self, kind: str) -> tuple[str, str, str, str]:
        values, own = f"{self._own}values:{kind}", self._own
        return values, f"{own}ends:{kind}", f"{own}version:{kind}", f"{own}versions:{kind}"

    def _run(
        self,
        name: str,
        keys: Sequence[str],
        values: Sequence[Argument] = (),
        repeat: bool = False,
    ) -> Any:
        # A cluster runs nothing half-way while a key that is named is not there (calls.py).
        named = (*keys, f"{self._own}nothing")
        return self._server.run(self._server.script(f"state_{name}"), named, values, repeat=repeat)

    def close(self) -> None:
        """Nothing is this port's own; the connections are the engine's to close."""


def _pairs(found: Sequence[bytes]) -> dict[str, str]:
    pairs = zip(found[::2], found[1::2], strict=True)
    return {key.decode(): value.decode() for key, value in pairs}


def _milliseconds(seconds: float) -> int:
    return max(int(seconds * 1000), 1)
