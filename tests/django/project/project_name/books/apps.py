"""The app that has the books."""

from django.apps import AppConfig
from django.db import connection


class BooksConfig(AppConfig):
    """It opens a connection when it is imported, which Django advises against."""

    name = "project_name.books"

    def ready(self):
        """Open it."""
        connection.ensure_connection()
