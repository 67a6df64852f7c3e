"""Every setting, declared once: its name, kind, default, Celery's default and what it means.

`declare` says how; the modules named after subjects declare them; `table` puts them together;
`config` is ``app.conf``; `sources` reads modules and objects.
"""

from umbel.settings.config import COMMAND_LINE, Config, Origin, Rank
from umbel.settings.table import TABLE, Settings, spelling, zone

__all__ = ["COMMAND_LINE", "TABLE", "Config", "Origin", "Rank", "Settings", "spelling", "zone"]
