"""Benchmarks: umbel beside a peer and beside bare loops, interleaved in one run. ``make bench``."""
