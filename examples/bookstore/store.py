"""The shop itself: what your web views would call. Nothing here waits for a payment or a mail."""

from __future__ import annotations

import sys
import uuid

from examples.bookstore.tasks import charge_reader, sales_report, send_welcome_mail

BOOKS = {
    "Emma": "Emma Woodhouse, handsome, clever, and rich …",
    "Moby-Dick": "Call me Ishmael.",
    "Middlemarch": "Miss Brooke had that kind of beauty …",
    "The Trial": "Someone must have been telling lies about Josef K. …",
    "Jane Eyre": "There was no possibility of taking a walk that day.",
    "Dracula": "Left Munich at 8:35 P.M., on 1st May …",
}


def open_book(reader: str, book: str) -> tuple[str, str]:
    """Return the order's id and the book's text at once; the reader is charged in the background."""
    order = uuid.uuid4().hex
    # In a shop with a database: store the order first, and call delay() when that is committed,
    # so that no task looks for an order that is not there yet.
    charge_reader.delay(order, reader, book)
    return order, BOOKS[book]


def sign_up(reader: str, welcome_after: float = 600.0) -> None:
    """Take in a new reader, who gets a mail after some time (seconds)."""
    send_welcome_mail.apply_async((f"{reader}@readers.example",), countdown=welcome_after)


def main() -> None:
    """Open a book and print the receipt: `python -m examples.bookstore.store ada Emma`."""
    reader = sys.argv[1] if len(sys.argv) > 1 else "ada"
    book = sys.argv[2] if len(sys.argv) > 2 else "Emma"
    sign_up(reader, welcome_after=5)
    order, text = open_book(reader, book)
    print(f"{book}: {text}")
    print(f"Order {order}. Sales so far, as a worker adds them up:")
    print(sales_report.delay().get(timeout=30))


if __name__ == "__main__":
    main()
