"""What must hold at the end, by the books of the services and the rows of the shop's database."""

from __future__ import annotations

import mailbox
from collections.abc import Iterator
from dataclasses import dataclass

from demo.screen import Check, View
from demo.shop import LIBRARIAN, Shop
from umbel import states

PRICE = 100  # cents
ANSWERED = "SELECT conversation_id FROM chat_message WHERE from_shop"


@dataclass(frozen=True, slots=True)
class Story:
    """What happened, as those know it who did it."""

    charged: dict[str, str]  # idempotency key → reader
    raced: list[int]  # conversations whose answers were sent by delay(), within the transaction
    cured: list[int]  # by delay_on_commit()
    interrupted: list[str]  # ids of the tasks that the killed child had begun
    replaced: bool


def checks(story: Story, view: View, shop: Shop) -> list[Check]:
    """Compare what readers did with what came of it."""
    return [
        *_payments(story, view, shop),
        *_mails(view, shop),
        *_chat(story, view, shop),
        *_rest(story, view, shop),
    ]


def _payments(story: Story, view: View, shop: Shop) -> Iterator[Check]:
    ledger = shop.ask_payments("/charges")["charges"]
    keys = [charge["key"] for charge in ledger]
    cents = sum(charge["cents"] for charge in ledger)
    readers = [charge["reader"] for charge in ledger]
    yield Check(
        "every reader was charged",
        set(keys) == set(story.charged) and sorted(readers) == sorted(story.charged.values()),
        f"{len(set(readers)):,} charged, {view.readers:,} opened a book",
    )
    yield Check(
        "no one was charged twice",
        len(keys) == len(set(keys)) == view.readers and cents == view.readers * PRICE,
        f"{view.payments['repeated']} repeats took no money again",
    )
    paid = shop.rows(
        "SELECT username, cents FROM books_payment JOIN auth_user ON auth_user.id = reader_id"
    )
    yield Check(
        "the database says the same",
        sorted(paid) == sorted((reader, PRICE) for reader in readers),
        f"{len(paid):,} payments, ${sum(row[1] for row in paid) / 100:,.2f}",
    )


def _mails(view: View, shop: Shop) -> Iterator[Check]:
    addresses = [str(mail["To"]) for mail in mailbox.Maildir(shop.maildir)]
    welcome = [address for address in addresses if address != LIBRARIAN]
    yield Check(
        "every welcome mail arrived once",
        len(welcome) == len(set(welcome)) == view.readers,
        f"{len(welcome):,} mails for {view.readers:,} readers",
    )


def _chat(story: Story, view: View, shop: Shop) -> Iterator[Check]:
    answered = {row[0] for row in shop.rows(ANSWERED)}
    waiting = [number for number in story.raced if number not in answered]
    yield Check(
        "delay() before the commit: a race",
        0 < len(waiting) == view.raced,
        f"{len(waiting)} of {len(story.raced)} got no answer",
    )
    yield Check(
        "delay_on_commit(): no race",
        set(story.cured) <= answered,
        f"{len(answered.intersection(story.cured))} of {len(story.cured)} were answered",
    )
    subjects = shop.reports()
    total = len(story.raced) + len(story.cured)
    wanted = f"Conversations: {total}, unanswered: {len(waiting)}"
    yield Check("the weekly report is right", subjects == [wanted], "; ".join(subjects))


def _rest(story: Story, view: View, shop: Shop) -> Iterator[Check]:
    left = view.queued + view.in_work + view.scheduled
    dead = sum(depth.dead for depth in shop.app.queues.depths().values())
    yield Check(
        "nothing is lost or left over",
        not left and not dead and view.failed == view.raced,
        f"{left} waiting, {dead} dead, {view.failed - view.raced} other failures",
    )
    found = [shop.app.AsyncResult(task_id).state for task_id in story.interrupted]
    succeeded = found.count(states.SUCCESS)
    yield Check(
        "interrupted tasks ran again",
        story.replaced and succeeded == len(found),
        f"{succeeded} of {len(found)} succeeded",
    )
    locked = shop.logs().count("database is locked")
    yield Check("SQLite served all writers", not locked, f'"database is locked": {locked} times')
