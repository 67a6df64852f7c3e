"""``kombu.utils``: helpers."""

from __future__ import annotations

import sys

from umbel import utils
from umbel.alias.packages import attributes_of
from umbel.clock import unique_id as uuid
from umbel.utils import cached_property
from umbel.utils.functional import maybe_list, retry_over_time
from umbel.utils.imports import symbol_by_name

__all__ = ["cached_property", "maybe_list", "retry_over_time", "symbol_by_name", "uuid"]

# kombu has a function and a module of one name here, and the function must stay the attribute. An import of
# the module would set it as one, but for a module that Python has by its name already.
sys.modules.setdefault("kombu.utils.uuid", utils)
__getattr__ = attributes_of("kombu.utils")
