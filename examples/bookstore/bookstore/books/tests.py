"""What opening a book leads to: `manage.py test --settings config.settings.test`."""

from unittest.mock import patch

from django.contrib.auth.models import User
from django.core import mail
from rest_framework.test import APITestCase

from bookstore.taskapp import app
from umbel.exceptions import EncodeError
from umbel.testing import run_pending

from . import payments
from .models import Book, Payment
from .tasks import charge_user


class ReadingTests(APITestCase):
    """A reader opens a book."""

    def setUp(self) -> None:
        """Let Ada be logged in, and the payment service be kind."""
        self.ada = User.objects.create_user("ada", "ada@readers.example")
        self.client.force_authenticate(self.ada)
        self.book = Book.objects.get(title="Emma")
        self.charge = self.enterContext(patch.object(payments, "charge", return_value="R000001"))
        self.addCleanup(app.queues.purge, "celery")

    def test_who_opens_a_book_reads_at_once_and_pays_later(self) -> None:
        answer = self.client.get(f"/books/{self.book.pk}/")

        assert "Emma Woodhouse" in answer.data["text"]
        assert not Payment.objects.exists()
        run_pending(app)
        assert Payment.objects.get(reader=self.ada).receipt == "R000001"

    def test_a_page_that_is_loaded_again_is_paid_once(self) -> None:
        for _ in range(2):
            self.client.get(f"/books/{self.book.pk}/")
        run_pending(app)

        keys = [call.args[0] for call in self.charge.call_args_list]
        assert keys == [f"reader {self.ada.pk}, book {self.book.pk}"] * 2
        assert Payment.objects.count() == 1

    def test_no_one_pays_for_a_book_that_is_not_there(self) -> None:
        assert self.client.get("/books/404/").status_code == 404

        assert run_pending(app) == []

    def test_no_one_pays_without_being_known(self) -> None:
        stranger = self.client_class()

        assert stranger.get(f"/books/{self.book.pk}/").status_code == 401
        assert run_pending(app) == []

    def test_the_articles_call_is_refused_where_it_is_made(self) -> None:
        with self.assertRaisesMessage(
            EncodeError,
            "argument 'user_id' cannot be sent as json: it is a User. Pass its primary key (.pk)",
        ):
            charge_user.delay(self.ada, self.book.pk)

    def test_a_service_that_is_away_is_asked_again(self) -> None:
        self.charge.side_effect = [payments.PaymentUnavailable("503"), "R000002"]

        assert charge_user.apply((self.ada.pk, self.book.pk)).get() == "R000002"


class SigningUpTests(APITestCase):
    """Someone becomes a reader."""

    def test_a_new_reader_gets_a_mail(self) -> None:
        self.addCleanup(app.queues.purge, "celery")
        with (
            self.settings(WELCOME_AFTER=0),
            self.captureOnCommitCallbacks(execute=True),
        ):
            self.client.post("/readers/", {"username": "bob", "email": "bob@readers.example"})
        run_pending(app)

        assert [message.to for message in mail.outbox] == [["bob@readers.example"]]
