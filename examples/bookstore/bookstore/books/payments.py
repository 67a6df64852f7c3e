"""The payment service, as the shop talks to it: one function, and two ways to fail."""

import json
from http.client import HTTPConnection

from django.conf import settings


class PaymentUnavailable(Exception):
    """The payment service gave no answer, or not now: the same request may succeed later."""


class PaymentRefused(Exception):
    """The payment service said no. Asking again would not change its mind."""


def charge(key: str, reader: str, book: str) -> str:
    """Take the price of a book from a reader; return the receipt's number.

    The service takes the money for one key once, however often it is asked.
    """
    body = json.dumps({"reader": reader, "book": book, "cents": settings.PRICE})
    connection = HTTPConnection(settings.PAYMENTS, timeout=0.5)
    try:
        connection.request("POST", "/charges", body, {"Idempotency-Key": key})
        answer = connection.getresponse()
        text = answer.read().decode()
    except OSError as error:  # refused, broken, or too slow: was the money taken? Nobody knows.
        raise PaymentUnavailable(f"no answer: {error}") from error
    finally:
        connection.close()
    if answer.status >= 500:
        raise PaymentUnavailable(f"{answer.status} {answer.reason}")
    if answer.status >= 400:
        raise PaymentRefused(f"{answer.status} {answer.reason}: {text}")
    return str(json.loads(text)["receipt"])
