"""Results of calls, under the names that Celery's users know."""

from umbel.backend import ResultBase
from umbel.result.asyncresult import AsyncResult
from umbel.result.eagerresult import EagerResult
from umbel.result.groupresult import GroupResult
from umbel.result.joining import allow_join_result, assert_will_not_block, denied_join_result
from umbel.result.making import result_from_tuple
from umbel.result.resultset import ResultSet

__all__ = [
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "ResultBase",
    "ResultSet",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
]
