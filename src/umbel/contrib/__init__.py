"""What Celery has under this name: optional additions for tasks."""
