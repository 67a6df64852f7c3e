"""A bare client in a process of its own, as a side's is: ``python -m benchmarks.bare MODULE FUNCTION ...``.

The other arguments are given to the function as JSON. What it returns is printed as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys

if __name__ == "__main__":
    module = importlib.import_module(f"benchmarks.{sys.argv[1]}")
    print(json.dumps(getattr(module, sys.argv[2])(*map(json.loads, sys.argv[3:]))))
