"""The book store's tasks: what a worker does while the reader already reads.

Copy this file to begin a project of your own; `umbel -A tasks worker` runs it.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from email.message import EmailMessage
from http.client import HTTPConnection
from smtplib import SMTP, SMTPRecipientsRefused
from typing import Any

from umbel import Task, Umbel

PAYMENTS = os.environ.get("BOOKSTORE_PAYMENTS", "127.0.0.1:8001")
MAIL = os.environ.get("BOOKSTORE_MAIL", "127.0.0.1:8025")
PRICE = 100  # cents; sums of money are whole numbers

# Messages and results go to an SQLite file beside your project. Umbel(broker="redis://…") moves them.
app = Umbel()


class PaymentUnavailable(Exception):
    """The payment service gave no answer, or not now: the same request may succeed later."""


class PaymentRefused(Exception):
    """The payment service said no. Asking again would not change its mind."""


# Retry only what time can heal: PaymentRefused is not listed, so it fails at once and is seen.
# The waits grow (1, 2, 4 seconds at most) and are random, lest all retries come back together.
@app.task(
    autoretry_for=(PaymentUnavailable,),
    retry_backoff=True,
    retry_backoff_max=4,
    retry_jitter=True,
    max_retries=10,
)
def charge_reader(order: str, reader: str, book: str) -> str:
    """Take $1 for one book from a reader; return the receipt's number."""
    # A task may run more than once: its worker may die right after the money was taken. The key
    # makes that harmless, since it is the same each time. The order's id also covers a double click;
    # without such an id, the id of the call does: @app.task(bind=True) and self.request.id.
    charge = {"reader": reader, "book": book, "cents": PRICE}
    answer = _payments("POST", "/charges", charge, {"Idempotency-Key": order})
    return str(answer["receipt"])


# SMTP knows no idempotency key, but many mail systems drop a Message-ID that they have seen before.
@app.task(
    bind=True,
    autoretry_for=(OSError,),  # the network, and most of what smtplib raises
    dont_autoretry_for=(SMTPRecipientsRefused,),  # there is no such mailbox
    retry_backoff=True,
    retry_backoff_max=60,
)
def send_welcome_mail(self: Task[..., None], address: str) -> None:
    """Welcome a new reader."""
    mail = EmailMessage()
    mail["Message-ID"] = f"<{self.request.id}@bookstore.example>"
    mail["From"] = "librarian@bookstore.example"
    mail["To"] = address
    mail["Subject"] = "Welcome to the book store"
    mail.set_content("Every book costs $1, and you have it before we are paid. Enjoy!\n")
    host, port = MAIL.split(":")
    # Whatever waits for others gets a timeout; without one, a silent server stops a worker for good.
    with SMTP(host, int(port), local_hostname="bookstore.example", timeout=10) as server:
        server.send_message(mail)


@app.task
def sales_report(samples: int = 5000) -> dict[str, Any]:
    """Add up all sales: work for the processor, not for a web request."""
    # The sales are loaded here. Arguments stay small and plain: ids, texts, numbers.
    sales = _payments("GET", "/charges")["charges"]
    by_reader: Counter[str] = Counter()
    for sale in sales:
        by_reader[sale["reader"]] += sale["cents"]
    totals = list(by_reader.values()) or [0]
    means = sorted(sum(random.choices(totals, k=len(totals))) / len(totals) for _ in range(samples))
    return {
        "sales": len(sales),
        "cents": sum(totals),
        "bestsellers": Counter(sale["book"] for sale in sales).most_common(3),
        "cents_per_reader": [means[samples // 40], means[-samples // 40]],  # 95 % lie between
    }


def _payments(
    method: str, path: str, body: object = None, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """Ask the payment service; tell apart what is worth another try and what is not."""
    connection = HTTPConnection(PAYMENTS, timeout=0.5)
    try:
        connection.request(method, path, json.dumps(body), headers or {})
        answer = connection.getresponse()
        text = answer.read().decode()
    except (
        OSError
    ) as error:  # refused, broken, or too slow: nobody knows whether the money was taken
        raise PaymentUnavailable(f"no answer: {error}") from error
    finally:
        connection.close()
    if answer.status >= 500:
        raise PaymentUnavailable(f"{answer.status} {answer.reason}")
    if answer.status >= 400:
        raise PaymentRefused(f"{answer.status} {answer.reason}: {text}")
    found: dict[str, Any] = json.loads(text)
    return found
