"""Views that call tasks: the article's own, and what they get when the broker is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy
from project_name.books.models import Book

from tests.conftest import only_call
from umbel import OperationalError, Umbel
from umbel.clock import SYSTEM
from umbel.exceptions import EncodeError

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def ada() -> Iterator[Any]:
    user = get_user_model().objects.create(username="ada")
    yield user
    user.delete()


@pytest.fixture
def dune() -> Iterator[Any]:
    book = Book.objects.create(title="Dune")
    yield book
    book.delete()


def test_the_view_of_the_article_says_what_is_wrong_with_it(shop: Any, ada: Any, dune: Any) -> None:
    """It gives the user where the user's key is meant."""
    with pytest.raises(EncodeError) as caught:
        Client().get(f"/article/{dune.pk}/")
    assert "charge_user: argument 'user' cannot be sent as json: it is a User" in str(caught.value)
    assert "Pass its primary key (.pk), and load it in the task" in str(caught.value)


def test_the_view_with_its_bug_corrected(shop: Any, ada: Any, dune: Any) -> None:
    assert Client().get(f"/books/{dune.pk}/").json() == [{"id": dune.pk, "title": "Dune"}]
    call = only_call(shop, "books")
    assert (call.task, call.args) == ("charge_user", [ada.pk])


@pytest.mark.parametrize(
    ("make", "kind", "advice"),
    [
        (lambda book: book, "a Book", r"Pass its primary key (.pk)"),
        (lambda book: SimpleLazyObject(lambda: book), "a Book", r"Pass its primary key (.pk)"),
        (
            lambda book: Book.objects.all(),
            "a QuerySet",
            "Pass the primary keys: list(queryset.values_list('pk', flat=True))",
        ),
    ],
)
def test_what_cannot_be_sent_says_what_to_send(
    shop: Any, dune: Any, make: Callable[[Any], Any], kind: str, advice: str
) -> None:
    with pytest.raises(EncodeError) as caught:
        shop.tasks["charge"].delay(make(dune))
    assert f"argument 'pk' cannot be sent as json: it is {kind}" in str(caught.value)
    assert advice in str(caught.value)


def test_a_text_that_is_translated_later_is_sent_as_text(shop: Any) -> None:
    shop.tasks["charge"].delay(gettext_lazy("Monday"))
    assert only_call(shop, "books").args == ["Monday"]


def test_a_broker_that_is_away_is_an_error_soon(shop: Any) -> None:
    """A request does not hang: 5 seconds, by default, and what the machine takes beside that."""
    Umbel("proj", broker="redis://127.0.0.1:1/0")
    begun = SYSTEM.monotonic()
    with pytest.raises(OperationalError, match=r"127\.0\.0\.1:1"):
        Client().get("/buy/1")
    assert SYSTEM.monotonic() - begun < 8
