"""Books, and what was paid for them."""

from django.conf import settings
from django.db import models


class Book(models.Model):
    """A book that a reader may open for a dollar."""

    title = models.CharField(max_length=100)
    text = models.TextField()

    def __str__(self) -> str:
        return str(self.title)


class Payment(models.Model):
    """A reader has paid for a book, and may open it as often as he likes."""

    reader = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="payments")
    book = models.ForeignKey(Book, models.PROTECT, related_name="payments")
    cents = models.PositiveIntegerField()
    receipt = models.CharField(max_length=50)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("reader", "book"), name="pays_once"),)

    def __str__(self) -> str:
        return f"{self.receipt}: {self.cents} cents"
