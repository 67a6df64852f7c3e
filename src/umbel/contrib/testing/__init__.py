"""Celery's tools for tests of apps, under the names that they have in ``celery.contrib.testing``."""
