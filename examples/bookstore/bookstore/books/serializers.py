"""How books and readers look from outside."""

from django.contrib.auth.models import User
from rest_framework import serializers

from .models import Book


class BookSerializer(serializers.ModelSerializer):
    """A book as a reader gets it."""

    class Meta:
        model = Book
        fields = ("id", "title", "text")


class TitleSerializer(serializers.ModelSerializer):
    """A book as it is offered: its text costs a dollar."""

    class Meta:
        model = Book
        fields = ("id", "title")


class ReaderSerializer(serializers.ModelSerializer):
    """Who wants to become a reader."""

    class Meta:
        model = User
        fields = ("username", "email")
