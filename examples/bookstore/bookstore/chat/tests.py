"""When answers are sent: `manage.py test --settings config.settings.test`."""

from unittest.mock import patch

from django.contrib.auth.models import User
from django.core import mail
from django.db import transaction
from rest_framework.test import APITransactionTestCase

from bookstore.taskapp import app
from umbel.testing import run_pending

from . import views
from .models import Conversation
from .tasks import send_conversations_details


class ConversationTests(APITransactionTestCase):
    """A reader writes. Commits are real here; in a TestCase there are none."""

    def setUp(self) -> None:
        """Let Ada be logged in."""
        self.client.force_authenticate(User.objects.create_user("ada"))
        self.addCleanup(app.queues.purge, "celery")

    def test_the_answer_is_sent_after_the_commit(self) -> None:
        seen = []
        with patch.object(views, "look_for_spam", lambda text: seen.append(queued())):
            number = self.client.post("/conversations/", {"text": "Hello"}).data["id"]

        assert seen == [0]
        assert len(run_pending(app)) == 1
        shown = self.client.get(f"/conversations/{number}/").data
        assert shown["seen"]
        assert [message["from_shop"] for message in shown["messages"]] == [False, True]

    def test_what_is_rolled_back_is_not_answered(self) -> None:
        with self.assertRaises(LookupError), transaction.atomic():
            with patch.object(views, "look_for_spam"):
                self.client.post("/conversations/", {"text": "Hello"})
            raise LookupError

        assert run_pending(app) == []
        assert not Conversation.objects.exists()

    def test_the_article_sends_too_early(self) -> None:
        seen = []
        with patch.object(views, "look_for_spam", lambda text: seen.append(queued())):
            self.client.post("/race/", {"text": "Hello"})

        assert seen == [1]

    def test_the_report_counts_who_waits(self) -> None:
        Conversation.objects.create(reader=User.objects.get())
        send_conversations_details()

        assert mail.outbox[0].subject == "Conversations: 1, unanswered: 1"


def queued() -> int:
    """Return how many calls wait for a worker."""
    return sum(depth.ready for depth in app.queues.depths().values())
