"""``celery.app.defaults``: the defaults of settings, by name."""

from __future__ import annotations

from umbel.settings import TABLE

#: The defaults of all settings by their names.
DEFAULTS = {name: setting.default for name, setting in TABLE.items()}
SETTING_KEYS = frozenset(DEFAULTS)
DEFAULT_PROCESS_LOG_FMT: str = DEFAULTS["worker_log_format"]
DEFAULT_TASK_LOG_FMT: str = DEFAULTS["worker_task_log_format"]
