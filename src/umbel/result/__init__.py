"""Results of calls, under the names that Celery's users know."""

from typing import TYPE_CHECKING, Any

from umbel.absent import absent_from
from umbel.backend import ResultBase
from umbel.result.asyncresult import AsyncResult, result_from_tuple
from umbel.result.eagerresult import EagerResult
from umbel.result.joining import allow_join_result, assert_will_not_block, denied_join_result

__all__ = [
    "AsyncResult",
    "EagerResult",
    "ResultBase",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
]


if not TYPE_CHECKING:  # to type checkers, what is not here is missing

    def __getattr__(name: str) -> Any:
        raise absent_from(__name__, name)
