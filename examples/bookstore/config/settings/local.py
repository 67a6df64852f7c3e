"""Settings for a developer's machine. All data are in one directory: this one, or BOOKSTORE_DATA."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).parents[2]
DATA = Path(os.environ.get("BOOKSTORE_DATA", BASE_DIR))

SECRET_KEY = "for a developer's machine only"  # noqa: S105 - and for no other
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "config.urls"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "rest_framework.authtoken",
    "umbel.contrib.django",  # checks, and manage.py umbel
    "bookstore.taskapp.CeleryConfig",
    "bookstore.books",
    "bookstore.chat",
]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]

# SQLite with many writers: a transaction says when it begins that it will write, and waits for its turn.
# Without IMMEDIATE it asks at its first write, and is told "database is locked" if another was faster.
# In WAL mode readers wait for nobody.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "bookstore.sqlite3",
        "CONN_MAX_AGE": 60,  # seconds; workers keep their connections between tasks, too
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    },
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}

# umbel. Without a broker's URL, messages and results go to an SQLite file in .umbel, beside manage.py.
# CELERY_BROKER_URL = "redis://localhost"
# CELERY_RESULT_BACKEND = "redis://localhost"

# Whom the shop asks: `python -m demo.services` stands in for both.
PAYMENTS = os.environ.get("BOOKSTORE_PAYMENTS", "127.0.0.1:8001")
EMAIL_HOST, _, _port = os.environ.get("BOOKSTORE_MAIL", "127.0.0.1:8025").partition(":")
EMAIL_PORT = int(_port)
EMAIL_TIMEOUT = (
    10  # seconds; whatever waits for others has a limit, or a silent server stops a worker
)
DEFAULT_FROM_EMAIL = "librarian@bookstore.example"

PRICE = 100  # cents; sums of money are whole numbers
WELCOME_AFTER = float(os.environ.get("BOOKSTORE_WELCOME_AFTER", "600"))  # seconds
