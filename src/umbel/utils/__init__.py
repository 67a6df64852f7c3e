"""Names that Celery has in ``celery.utils``; what they name is found elsewhere."""
