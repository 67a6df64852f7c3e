"""Calls that are sent when the database's transaction ends, as in Django's own kinds of tests."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase, override_settings
from project_name.books.models import Book
from project_name.books.tasks import charge, charge_async, charge_user

from tests.conftest import calls, only_call
from umbel import OperationalError, Task, Umbel
from umbel.contrib.django import DjangoTask
from umbel.exceptions import EncodeError
from umbel.result import EagerResult

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture(autouse=True)
def _shop(shop: Any, request: pytest.FixtureRequest) -> None:
    """Give tests of classes the app of the project as an attribute."""
    if request.instance is not None:
        request.instance.shop = shop


class InTransactions(TransactionTestCase):
    """Transactions are real here."""

    shop: Umbel

    def test_a_call_is_sent_once_the_transaction_is_committed(self) -> None:
        with transaction.atomic():
            book = Book.objects.create(title="Dune")
            assert charge.delay_on_commit(book.pk) is None
            assert calls(self.shop, "books") == []
        assert only_call(self.shop, "books").args == [book.pk]

    def test_a_call_with_options(self) -> None:
        with transaction.atomic():
            charge.apply_async_on_commit((1,), queue="slow", countdown=None)
        assert only_call(self.shop, "slow").args == [1]

    def test_what_is_rolled_back_is_never_sent(self) -> None:
        with transaction.atomic():
            charge.delay_on_commit(1)
            transaction.set_rollback(True)
        assert calls(self.shop, "books") == []

    def test_outside_of_a_transaction_it_is_sent_at_once(self) -> None:
        charge.delay_on_commit(1)
        charge.apply_async_on_commit((2,))
        assert [call.args for call in calls(self.shop, "books")] == [[1], [2]]

    def test_the_inner_of_two_transactions_does_not_end_it(self) -> None:
        with transaction.atomic():
            with transaction.atomic():
                charge.delay_on_commit(1)
            assert calls(self.shop, "books") == []
        assert len(calls(self.shop, "books")) == 1

    def test_wrong_arguments_raise_where_they_are_given(self) -> None:
        with transaction.atomic():
            book = Book.objects.create(title="Dune")
            with pytest.raises(EncodeError, match=r"charge: argument 'pk' cannot be sent as json"):
                charge.delay_on_commit(book)
            with pytest.raises(TypeError, match="missing 1 required positional argument"):
                charge.delay_on_commit()
            with pytest.raises(TypeError, match="no option 'quue'"):
                charge.apply_async_on_commit((1,), quue="slow")
        assert calls(self.shop, "books") == []

    def test_a_class_that_makes_something_of_its_arguments_first(self) -> None:
        class ByKey(DjangoTask[..., Any]):
            def apply_async(
                self, args: Any = None, kwargs: Any = None, *more: Any, **o: Any
            ) -> Any:
                return super().apply_async([args[0].pk], kwargs, *more, **o)

        by_key: Any = self.shop.task(name="by_key", base=ByKey)(lambda pk: None)
        with transaction.atomic():
            book = Book.objects.create(title="Dune")
            by_key.delay_on_commit(book)
        assert only_call(self.shop, "books").args == [book.pk]
        self.shop.tasks.unregister("by_key")

    def test_what_fails_when_it_is_sent_raises_where_the_transaction_ends(self) -> None:
        """What was saved is saved; and functions that were to run after it do not, as Django has it."""
        ran: list[int] = []
        other = Umbel(broker="redis://127.0.0.1:1/0", task_publish_retry=False)
        other.task(name="lost", base=DjangoTask)(lambda: None)
        lost: Any = other.tasks["lost"]

        @transaction.atomic
        def save() -> None:
            Book.objects.create(title="Kept")
            lost.delay_on_commit()
            transaction.on_commit(lambda: ran.append(1))

        with pytest.raises(OperationalError, match=r"127\.0\.0\.1:1"):
            save()
        assert Book.objects.filter(title="Kept").exists()
        assert ran == []

    def test_a_call_that_runs_at_once_leaves_the_connection_alone(self) -> None:
        self.shop.conf.task_always_eager = True
        with transaction.atomic():
            book = Book.objects.create(title="Dune")
            used = connection.connection
            assert charge.delay(book.pk).get() == "Dune"
            assert connection.connection is used
            charge.delay_on_commit(book.pk)
        book.refresh_from_db()
        assert (book.charged, connection.connection) == (2, used)


class InOneTransaction(TestCase):
    """Each test is a transaction, which is rolled back."""

    shop: Umbel

    def test_calls_on_commit_are_captured(self) -> None:
        with self.captureOnCommitCallbacks() as callbacks:
            charge.delay_on_commit(1)
        assert calls(self.shop, "books") == []
        callbacks[0]()
        assert only_call(self.shop, "books").args == [1]

    def test_calls_on_commit_are_run(self) -> None:
        self.shop.conf.task_always_eager = True
        book = Book.objects.create(title="Dune")
        with self.captureOnCommitCallbacks(execute=True):
            charge.delay_on_commit(book.pk)
        book.refresh_from_db()
        assert book.charged == 1

    def test_a_call_in_the_test_itself_runs_in_its_transaction(self) -> None:
        self.shop.conf.task_always_eager = True
        book = Book.objects.create(title="Dune")
        result: Any = charge.delay(book.pk)
        assert isinstance(result, EagerResult)
        assert result.get() == "Dune"

    def test_a_coroutine_runs_in_its_transaction_too(self) -> None:
        self.shop.conf.task_always_eager = True
        book = Book.objects.create(title="Dune")
        result: Any = charge_async.delay(book.pk)
        assert result.get() == "Dune"
        book.refresh_from_db()
        assert book.charged == 1

    def test_settings_of_a_test_count_within_it(self) -> None:
        self.shop.finalize()
        with override_settings(CELERY_TASK_ALWAYS_EAGER=True, CELERY_TASK_TIME_LIMIT=5):
            assert charge_user.delay(3).get() == 3
            assert self.shop.conf.task_time_limit == 5
        charge_user.delay(4)
        assert only_call(self.shop, "books").args == [4]
        assert self.shop.conf.task_time_limit is None

    async def test_a_call_from_a_coroutine(self) -> None:
        """Its task runs on another thread, as the loop's own is busy."""
        self.shop.conf.task_always_eager = True
        assert charge_user.delay(3).get() == 3

    def test_a_view(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            pk = int(self.client.get("/order/Dune").content)
        assert only_call(self.shop, "books").args == [pk]

    def test_a_view_whose_tasks_run_at_once(self) -> None:
        self.shop.conf.task_always_eager = True
        book = Book.objects.create(title="Dune")
        self.client.get(f"/buy/{book.pk}")
        book.refresh_from_db()
        assert book.charged == 1


def test_the_race_of_the_article_and_its_cure(shop: Any) -> None:
    """A task that starts before the commit does not find the object; one that is sent after it does."""
    found: list[bool] = []

    @shop.task(name="respond_to_message")
    def respond_to_message(conversation_id: int) -> None:
        """Look as a worker does, which has another connection."""
        with SimpleConnection() as look:
            found.append(look(conversation_id))

    def work() -> None:
        for call in calls(shop, "books"):
            respond_to_message.apply(call.args)
        shop.queues.purge("books")

    with transaction.atomic():
        conversation = Book.objects.create(title="respond")
        respond_to_message.delay(conversation.pk)
        work()
    assert found == [False]
    with transaction.atomic():
        conversation = Book.objects.create(title="respond")
        respond_to_message.delay_on_commit(conversation.pk)
        work()
    work()
    assert found == [False, True]
    Book.objects.all().delete()
    shop.tasks.unregister("respond_to_message")


class SimpleConnection:
    """A connection of its own to the database of the tests."""

    def __enter__(self) -> Any:
        self._connection = connection.copy()
        return self._has

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _has(self, pk: int) -> bool:
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM books_book WHERE id = %s", [pk])
            return bool(cursor.fetchone()[0])


def test_a_task_of_another_class_has_none_of_it() -> None:
    assert not hasattr(Task, "delay_on_commit")
