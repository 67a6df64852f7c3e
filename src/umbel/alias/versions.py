"""The versions of Celery and its libraries that umbel stands for, which packages compare."""

from __future__ import annotations

from typing import NamedTuple

#: The Celery whose interface umbel has.
CELERY = "5.7.0"
#: The oldest kombu and billiard that this Celery asks for.
KOMBU = "5.7.0"
BILLIARD = "4.3.2"


class version_info_t(NamedTuple):
    """A version as Celery and kombu have it; it compares with plain tuples."""

    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: str


def version_info(version: str) -> version_info_t:
    """Return a version's parts."""
    major, minor, micro = (int(part) for part in version.split("."))
    return version_info_t(major, minor, micro, "", "")
