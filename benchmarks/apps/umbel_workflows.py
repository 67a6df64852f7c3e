"""Workflows by umbel; the app is that of `umbel_app`, with results."""

from __future__ import annotations

import os

from benchmarks.apps.umbel_app import app
from benchmarks.workflow_calls import actions_of
from umbel import chain, chord

app.conf.workflow_by_reference = os.environ.get("BENCH_BY_REFERENCE") == "1"

ACTIONS = ("chord_of", "chains_of")
chord_of, chains_of = actions_of(app, chain, chord)
