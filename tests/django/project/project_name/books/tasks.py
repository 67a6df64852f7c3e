"""The shop's tasks, which autodiscovery finds."""

import asyncio
import os
import threading

from asgiref.sync import sync_to_async
from django.db import connection

from umbel.contrib.django import shared_task

from .models import Book
from .payments import charge_user

__all__ = ["charge", "charge_async", "charge_user", "connections"]


@shared_task(name="charge")
def charge(pk: int) -> str:
    """Charge for a book."""
    book = Book.objects.get(pk=pk)
    book.charged += 1
    book.save()
    return str(book.title)


@shared_task(name="charge_async")
async def charge_async(pk: int) -> str:
    """Charge for a book, from a coroutine."""
    book = await Book.objects.aget(pk=pk)
    book.charged += 1
    await book.asave()
    return str(book.title)


@shared_task(name="connections")
def connections() -> list[bool]:
    """Tell whether this process has a connection before it asks for one, and after."""
    before = connection.connection is not None
    Book.objects.count()
    return [before, connection.connection is not None]


@shared_task(name="connections_async")
async def connections_async() -> list[bool]:
    """The same, on the thread on which a coroutine uses the database."""
    return await sync_to_async(connections.run)()


@shared_task(name="process")
def process() -> int:
    """Tell which process runs tasks."""
    return os.getpid()


gate = threading.Event()


@shared_task(name="open_gate")
def open_gate() -> bool:
    """Let `read` go on; tell whether it had begun to read."""
    begun = reading.wait(10)
    gate.set()
    return begun


reading = threading.Event()


@shared_task(name="read")
async def read() -> int:
    """Count books one by one, and wait at the first one for the gate."""
    found = 0
    async for _ in Book.objects.aiterator(chunk_size=1):
        found += 1
        reading.set()
        await asyncio.to_thread(gate.wait, 10)
    return found
