"""What the threads that share a space must agree on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from umbel.clock import Clock
from umbel.engines.memory.messages import Stored, stored
from umbel.engines.memory.space import Bucket, Entry, Hold, Space
from umbel.ports import Change, Changes, StateStore


class MemoryState(StateStore):
    """See `umbel.ports.StateStore`."""

    def __init__(self, space: Space, clock: Clock) -> None:
        self._space = space
        self._clock = clock

    def hold(self, name: str, owner: str, ttl: float) -> int | None:
        """Look and write under the lock."""
        with self._space.lock:
            now = self._clock.time()
            found = self._space.holds.get(name)
            if found is None:
                found = self._space.holds[name] = Hold(owner, 1, now + ttl)
                return found.term
            if found.expires > now and found.owner != owner:
                return None
            # An owner whose lease ran out may have been replaced for a moment: that is a new term.
            if found.expires <= now:
                found.term += 1
            found.owner, found.expires = owner, now + ttl
            return found.term

    def let_go(self, name: str, owner: str) -> bool:
        """End the lease where it is listed."""
        with self._space.lock:
            now = self._clock.time()
            found = self._space.holds.get(name)
            if found is None or found.owner != owner or found.expires <= now:
                return False
            found.expires = 0.0
        return True

    def put(self, kind: str, key: str, value: str, ttl: float | None = None) -> None:
        """Write the entry."""
        with self._space.lock:
            self._put(kind, self._live(kind), key, value, ttl)

    def put_all(self, kind: str, values: Mapping[str, str], ttl: float | None = None) -> None:
        """Write the entries."""
        with self._space.lock:
            live = self._live(kind)
            for key, value in values.items():
                self._put(kind, live, key, value, ttl)

    def _put(
        self, kind: str, live: dict[str, Entry], key: str, value: str, ttl: float | None
    ) -> None:
        self._count_change(kind)
        expires = None if ttl is None else self._clock.time() + ttl
        live.pop(key, None)  # in the order in which they were stored
        live[key] = Entry(value, expires, self._space.versions[kind])

    def put_new(self, kind: str, key: str, value: str, ttl: float | None = None) -> bool:
        """Look and write under the lock."""
        with self._space.lock:
            if key in self._live(kind):
                return False
            self.put(kind, key, value, ttl)
        return True

    def get(self, kind: str, key: str) -> str | None:
        """Look it up."""
        with self._space.lock:
            found = self._space.entries.get(kind, {}).get(key)
            now = self._clock.time()
            if found is None or (found.expires is not None and found.expires <= now):
                return None
            return found.value

    def items(self, kind: str) -> dict[str, str]:
        """Copy them, sorted."""
        with self._space.lock:
            return {key: entry.value for key, entry in sorted(self._live(kind).items())}

    def pick(self, kind: str, keys: Collection[str]) -> dict[str, str]:
        """Look them up."""
        with self._space.lock:
            live = self._live(kind)
            return {key: live[key].value for key in keys if key in live}

    def delete(self, kind: str, keys: Collection[str]) -> int:
        """Delete the entries; those that had expired do not count."""
        with self._space.lock:
            live = self._live(kind)
            gone = [key for key in set(keys) if live.pop(key, None) is not None]
            if gone:
                self._count_change(kind)
        return len(gone)

    def version(self, kind: str) -> int:
        """Read the counter."""
        return self._space.versions.get(kind, 0)

    def changes(self, kind: str, since: int, most: int) -> Changes:
        """Read them from the last to the first that is newer."""
        with self._space.lock:
            version = self._space.versions.get(kind, 0)
            since = 0 if since > version else since
            found: dict[str, str] = {}
            for key, entry in reversed(self._live(kind).items()):
                if entry.version <= since:
                    break
                if len(found) == most:
                    return Changes(version, None)
                found[key] = entry.value
        return Changes(version, found)

    def _live(self, kind: str) -> dict[str, Entry]:
        """Return the entries of a kind after deleting those that expired."""
        entries = self._space.entries.setdefault(kind, {})
        now = self._clock.time()
        for key in [
            key
            for key, entry in entries.items()
            if entry.expires is not None and entry.expires <= now
        ]:
            del entries[key]
        return entries

    def _count_change(self, kind: str) -> None:
        self._space.versions[kind] = self._space.versions.get(kind, 0) + 1

    def change(self, changes: Sequence[Change], timeout: float) -> list[bool]:
        """Look and write under the lock, which nobody keeps for long enough to need `timeout`."""
        now = self._clock.time()
        messages = [stored(change.publish, now) for change in changes]
        with self._space.lock:
            return [self._change(one, items) for one, items in zip(changes, messages, strict=True)]

    def _change(self, change: Change, messages: list[Stored]) -> bool:
        found = self.get(change.kind, change.key)
        if found == change.value or found != change.was:
            return found == change.value
        if change.value is None:
            self.delete(change.kind, [change.key])
        else:
            self.put(change.kind, change.key, change.value)
        for one in change.puts:
            self.put(one.kind, one.key, one.value)
        self._space.messages.insert(messages)
        return True

    def take(self, bucket: str, amount: float, rate: float, burst: float) -> float:
        """Fill the bucket up to now, then take or tell how long the rest needs."""
        with self._space.lock:
            now = self._clock.time()
            found = self._space.buckets.setdefault(bucket, Bucket(burst, now))
            refill = max(now - found.filled, 0.0) * rate
            found.tokens, found.filled = min(burst, found.tokens + refill), now
            missing = amount - found.tokens
            if missing <= 0:
                found.tokens -= amount
        return 0.0 if missing <= 0 else missing / rate

    def close(self) -> None:
        """Nothing to give back."""
