"""A reader writes to the shop."""

import time
from typing import Any

from django.db import transaction
from rest_framework import mixins, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from .models import Conversation, Message
from .serializers import ConversationSerializer, MessageSerializer
from .tasks import respond_to_message


class ConversationViewset(mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Begin a conversation, and look at it."""

    serializer_class = ConversationSerializer

    def get_queryset(self) -> Any:
        """Show readers their own conversations."""
        return Conversation.objects.filter(reader=self.request.user).prefetch_related("messages")

    def create(self, request: Request) -> Response:
        """Store what a reader writes. The answer is a task's business."""
        message = MessageSerializer(data=request.data)
        message.is_valid(raise_exception=True)
        with transaction.atomic():
            conversation = Conversation.objects.create(reader=request.user)
            Message.objects.create(conversation=conversation, **message.validated_data)
            self.have_answered(conversation)
            look_for_spam(message.validated_data["text"])
        return Response(self.get_serializer(conversation).data, status.HTTP_201_CREATED)

    def have_answered(self, conversation: Conversation) -> None:
        """Have an answer sent, once the conversation is stored for all to see. See race.py for why."""
        respond_to_message.delay_on_commit(conversation.pk)


def look_for_spam(text: str) -> None:
    """Stand in for whatever else a view does before its transaction ends."""
    del text
    time.sleep(0.1)
