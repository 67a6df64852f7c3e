"""The shop's books."""

from django.db import models


class Book(models.Model):
    """A book that is read for a dollar."""

    title = models.CharField(max_length=100)
    charged = models.IntegerField(default=0)

    class Meta:
        app_label = "books"
