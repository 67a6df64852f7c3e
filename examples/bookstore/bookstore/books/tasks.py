"""What a worker does while the reader already reads. Autodiscovery looks into modules of this name."""

from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage

from umbel import Task
from umbel.contrib.django import shared_task

from . import payments
from .models import Book, Payment


# Retry only what time can heal: PaymentRefused is not listed, so it fails at once and is seen.
# The waits grow (1, 2, 4 seconds at most) and are random, lest all retries come back together.
@shared_task(
    autoretry_for=(payments.PaymentUnavailable,),
    retry_backoff=True,
    retry_backoff_max=4,
    retry_jitter=True,
    max_retries=10,
)
def charge_user(user_id: int, book_id: int) -> str:
    """Charge a reader for a book, once; return the receipt's number."""
    reader = User.objects.get(pk=user_id)
    book = Book.objects.get(pk=book_id)
    # A task may run more than once: its worker may die right after the money was taken, and a reader may
    # load a page again. The key makes that harmless, since it says what is paid for, and not by which call.
    key = f"reader {reader.pk}, book {book.pk}"
    receipt = payments.charge(key, reader.username, book.title)
    # The same in the database: the second one finds the row, or meets the constraint.
    paid = {"cents": settings.PRICE, "receipt": receipt}
    Payment.objects.get_or_create(reader=reader, book=book, defaults=paid)
    return receipt


# SMTP knows no idempotency key, but many mail systems drop a Message-ID that they have seen before.
@shared_task(bind=True, autoretry_for=(OSError,), retry_backoff=True, retry_backoff_max=60)
def send_welcome_mail(self: Task[..., None], reader_id: int) -> None:
    """Welcome a new reader."""
    reader = User.objects.get(pk=reader_id)
    EmailMessage(
        subject="Welcome to the book store",
        body=f"Dear {reader.username}, every book costs $1, and you have it before we are paid.",
        to=[reader.email],
        headers={"Message-ID": f"<{self.request.id}@bookstore.example>"},
    ).send()
