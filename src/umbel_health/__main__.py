"""``python -m umbel_health``, which is ``umbel-health``."""

import sys

from umbel_health import main

sys.exit(main())
