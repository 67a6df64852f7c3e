"""Views that hand work to tasks. None of them waits for a payment or a mail."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from rest_framework import mixins, status, viewsets
from rest_framework.authtoken.models import Token
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from .models import Book
from .serializers import BookSerializer, ReaderSerializer, TitleSerializer
from .tasks import charge_user, send_welcome_mail


class BookViewset(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """The article's view: who opens a book reads it at once, and is charged in the background."""

    queryset = Book.objects.order_by("pk")

    def get_serializer_class(self) -> Any:
        """Show the text only to who pays for it."""
        return TitleSerializer if self.action == "list" else BookSerializer

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Show a book and charge its reader."""
        book = self.get_object()  # no one pays for a book that is not there
        # The article passes `request.user`. An object cannot travel as JSON, and if it could, it would be
        # what the user was when the call was sent. Its key can, and the task loads what it needs.
        charge_user.delay(request.user.pk, book.pk)
        return Response(self.get_serializer(book).data)


class ReaderViewset(viewsets.GenericViewSet):
    """Sign up."""

    permission_classes = (AllowAny,)
    serializer_class = ReaderSerializer

    def create(self, request: Request) -> Response:
        """Make a reader, who gets a token at once and a mail after some time."""
        wanted = self.get_serializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        with transaction.atomic():
            reader = User.objects.create_user(**wanted.validated_data)
            token = Token.objects.create(user=reader)
            # Sent when the reader is stored, and not at all if something below raises.
            send_welcome_mail.apply_async_on_commit((reader.pk,), countdown=settings.WELCOME_AFTER)
        return Response({"id": reader.pk, "token": token.key}, status.HTTP_201_CREATED)
