"""Workflows by Celery, by its documented advice for speed; the app is that of `celery_app`, with results."""

from __future__ import annotations

from celery import chain, chord

from benchmarks.apps.celery_app import app
from benchmarks.workflow_calls import actions_of

ACTIONS = ("chord_of", "chains_of")
chord_of, chains_of = actions_of(app, chain, chord)
