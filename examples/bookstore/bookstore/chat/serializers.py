"""How conversations look from outside."""

from rest_framework import serializers

from .models import Conversation, Message


class MessageSerializer(serializers.ModelSerializer):
    """What one of the two said."""

    class Meta:
        model = Message
        fields = ("from_shop", "text")
        read_only_fields = ("from_shop",)


class ConversationSerializer(serializers.ModelSerializer):
    """A conversation with all that was said."""

    messages = MessageSerializer(many=True, read_only=True)

    class Meta:
        model = Conversation
        fields = ("id", "seen", "messages")
