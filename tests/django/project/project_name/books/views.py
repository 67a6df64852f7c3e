"""The shop's views."""

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse

from .article import BookViewset as ArticleViewset
from .models import Book
from .payments import charge_user
from .tasks import charge

__all__ = ["ArticleViewset", "BookViewset", "buy", "order"]


class BookViewset(ArticleViewset):
    """The article's view, with its bug corrected."""

    def retrieve(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Charge who reads."""
        charge_user.delay(request.user.pk)
        return super().list(request, *args, **kwargs)


def buy(request: HttpRequest, pk: int) -> HttpResponse:
    """Charge for a book at once."""
    return HttpResponse(charge.delay(pk).id)


def order(request: HttpRequest, title: str) -> HttpResponse:
    """Make a book and charge for it, in one transaction."""
    with transaction.atomic():
        book = Book.objects.create(title=title)
        charge.delay_on_commit(book.pk)
    return HttpResponse(str(book.pk))
