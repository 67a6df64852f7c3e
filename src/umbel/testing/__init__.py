"""Tools for tests: of apps that use umbel, of engines, and of umbel itself."""

from umbel.testing.running import Ran, run_pending, worker

__all__ = ["Ran", "run_pending", "worker"]
