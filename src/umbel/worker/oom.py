"""Whether the system killed a process for want of memory."""

from __future__ import annotations

from pathlib import Path

#: By which name, and in which file, the kernel counts such kills of a control group, of version 1 and 2; the
#: system's own count stands for both where there is no group.
_VERSION_1 = "/sys/fs/cgroup/memory{}/memory.oom_control"
_VERSION_2 = "/sys/fs/cgroup{}/memory.events"
_SYSTEM = "/proc/vmstat"


class Kills:
    """Counts them, of this process's control group where that has a limit, else of the system."""

    def __init__(self, groups: Path = Path("/proc/self/cgroup")) -> None:
        self._groups = groups
        self._before = self._now()

    def are_more(self) -> bool:
        """Tell whether there were any since this was last asked."""
        before, self._before = self._before, self._now()
        return any(count > before.get(place, count) for place, count in self._before.items())

    def _now(self) -> dict[str, int]:
        counts = {place: _count(Path(place)) for place in (*self._places(), _SYSTEM)}
        found = {place: count for place, count in counts.items() if count is not None}
        if len(found) > 1:  # those of other groups are none of ours
            del found[_SYSTEM]
        return found

    def _places(self) -> list[str]:
        """Return the files that may have the count of this process's group."""
        try:
            lines = self._groups.read_text().splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            _, controllers, path = line.split(":", 2)
            group = "" if path == "/" else path
            if "memory" in controllers.split(","):
                found.append(_VERSION_1.format(group))
            elif not controllers:
                found.append(_VERSION_2.format(group))
        return found


def _count(place: Path) -> int | None:
    """Read a count; None where the file, or the line, is not there."""
    try:
        lines = place.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
