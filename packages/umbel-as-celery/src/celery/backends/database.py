"""``celery.backends.database`` is umbel's; write_modules.py wrote this."""

from umbel import alias

__getattr__ = alias.take_the_place_of(__name__)
