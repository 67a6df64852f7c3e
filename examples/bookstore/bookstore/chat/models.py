"""Conversations between a reader and the shop."""

from django.conf import settings
from django.db import models


class Conversation(models.Model):
    """Begins when a reader writes."""

    reader = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    created = models.DateTimeField(auto_now_add=True)
    seen = models.BooleanField(default=False)


class Message(models.Model):
    """What one of the two said."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="messages")
    from_shop = models.BooleanField(default=False)
    text = models.TextField()
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(
                fields=("conversation",), condition=models.Q(from_shop=True), name="answered_once"
            ),
        )

    def __str__(self) -> str:
        return str(self.text)
