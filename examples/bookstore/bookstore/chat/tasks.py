"""Answers to readers, and the weekly report about them."""

from datetime import timedelta

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import Exists, OuterRef
from django.utils import timezone

from umbel import Task
from umbel.contrib.django import shared_task

from .models import Conversation, Message


@shared_task
def respond_to_message(conversation_id: int) -> None:
    """Answer a reader. Run a second time, it says nothing twice."""
    conversation = Conversation.objects.get(id=conversation_id)

    Conversation.objects.filter(pk=conversation.pk).update(seen=True)
    Message.objects.get_or_create(
        conversation=conversation,
        from_shop=True,
        defaults={"text": "Thank you for your message. A librarian will read it soon 📚"},
    )


@shared_task(bind=True, autoretry_for=(OSError,), retry_backoff=True, retry_backoff_max=60)
def send_conversations_details(self: Task[..., None]) -> None:
    """Mail the librarian how many conversations began in the last week, and how many have no answer."""
    answers = Message.objects.filter(conversation=OuterRef("pk"), from_shop=True)
    recent = Conversation.objects.filter(created__gte=timezone.now() - timedelta(days=7))
    total, waiting = recent.count(), recent.exclude(Exists(answers)).count()
    EmailMessage(
        subject=f"Conversations: {total}, unanswered: {waiting}",
        body="Who has no answer may be waiting for one.",
        to=[settings.DEFAULT_FROM_EMAIL],
        headers={"Message-ID": f"<{self.request.id}@bookstore.example>"},
    ).send()
