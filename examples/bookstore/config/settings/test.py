"""Settings for `manage.py test`: messages stay in memory until a test runs them."""

from .local import *  # noqa: F403 - all but what follows

CELERY_BROKER_URL = "memory://tests"
CELERY_RESULT_BACKEND = "memory://tests"
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
