"""How books are shown."""

from rest_framework import serializers

from .models import Book


class BookSerializer(serializers.ModelSerializer):
    """A book as JSON."""

    class Meta:
        model = Book
        fields = ("id", "title")
