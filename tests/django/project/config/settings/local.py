"""Settings of the project; it keeps its data where SHOP_DATA says."""

import os
from pathlib import Path

DATA = Path(os.environ["SHOP_DATA"])
#: None: connections live for ever.
AGE = int(os.environ["SHOP_AGE"]) if "SHOP_AGE" in os.environ else None

SECRET_KEY = "for tests"
DEBUG = False
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "config.urls"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "umbel.contrib.django",
    "project_name.taskapp.CeleryConfig",
    "project_name.books.apps.BooksConfig",
]
MIDDLEWARE = ["project_name.books.ada.log_in_ada"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "shop.db",
        "CONN_MAX_AGE": AGE,
        "TEST": {"NAME": DATA / "test.db"},  # a file, so that threads see the same
    },
}
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["project_name.books.ada.AsLoggedIn"]}

CELERY_BROKER_URL = os.environ.get("SHOP_BROKER", f"sqlite:///{DATA / 'umbel.db'}")
CELERY_RESULT_BACKEND = CELERY_BROKER_URL
CELERY_TASK_DEFAULT_QUEUE = "books"
if os.environ.get("SHOP_REUSE"):
    CELERY_DB_REUSE_MAX = int(os.environ["SHOP_REUSE"])
CELERY_HELPER_OF_THE_PROJECT = "kept"
