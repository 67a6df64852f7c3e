"""Checked by mypy and pyright: what is right passes; each line marked ``# wrong`` is an error to both."""

from __future__ import annotations

from typing import assert_type

from umbel import AsyncResult, Exchange, Queue, Signature, Task, Umbel, binding, shared_task
from umbel.contrib.django import shared_task as django_task
from umbel.message import Delivery, Message
from umbel.result import EagerResult

app = Umbel()


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(queue="mails", max_retries=5)
def send_mail(to: str, *, urgent: bool = False) -> str:
    return to


@app.task(bind=True)
def report(self: object, day: str) -> list[int]:
    return [len(day)]


@app.task
async def crawl(url: str) -> bytes:
    return url.encode()


@app.task(queue="crawl", bind=True)
async def crawl_bound(self: object, url: str) -> bytes:
    return url.encode()


@shared_task
def double(x: int) -> int:
    return 2 * x


assert_type(add(1, 2), int)
assert_type(add.delay(1, 2), AsyncResult[int])
assert_type(add.delay(1, y=2).get(), int)
assert_type(send_mail.delay("a@example.org", urgent=True).get(), str)
assert_type(report.delay("2026-01-01").get(), list[int])
assert_type(crawl.delay("https://example.org").get(), bytes)
assert_type(crawl_bound.delay("https://example.org").get(), bytes)
assert_type(double.delay(2).get(), int)
assert_type(add.apply_async((1, 2), countdown=3), AsyncResult[int])
assert_type(add.delay_many([(1, 2)]), list[AsyncResult[int]])


assert_type(add.apply((1, 2), throw=True), EagerResult[int])
assert_type(add.apply((1, 2)).get(), int)
reveal = app.send_task("anything", (1, 2), queue="q").id
assert_type(reveal, str)


class Mail(Task[..., str]):
    def __init__(self) -> None:
        self.server = "localhost"

    def run(self, to: str) -> str:
        return self.server + to


mail = app.register_task(Mail())


@app.task(base=Mail, on_failure=print, acks_on_failure=False, pydantic=True)
def send_report(day: str) -> int:
    return len(day)


assert_type(send_report.delay("2026-01-01").get(), int)
media = Exchange("media", type="topic")
queue = Queue("videos", media, routing_key="media.#")
assert_type(queue.exchange, Exchange | None)
add.apply_async((1, 2), queue=queue, exchange=media, routing_key="media.video")
Queue("videos", "media")
Queue("videos", [binding(media, "a"), binding(media, "b")])
Queue("videos", 5)  # wrong
add.apply_async((1, 2), queue=5)  # wrong


@django_task
def charge(order: int) -> str:
    return str(order)


@django_task(bind=True, queue="slow")
def charge_later(self: object, order: int) -> str:
    return str(order)


assert_type(charge.delay(1).get(), str)
charge.delay_on_commit(order=1)
charge.apply_async_on_commit((1,), countdown=5)
charge_later.delay_on_commit(1)
charge.delay_on_commit("1")  # wrong
charge.apply_async_on_commit((1,), countdwn=5)  # wrong
charge_later.delay_on_commit()  # wrong


@app.task
def nothing() -> None: ...


assert_type(add.s(1, 2), Signature[int])
assert_type(add.s(1, y=2).delay(), AsyncResult[int])
assert_type(add.s(2), Signature[int])
assert_type(add.s(y=2).apply_async((1,), countdown=3).get(), int)
assert_type(add.s(), Signature[int])
assert_type(add.si(1, 2).set(queue="q").apply().get(), int)
assert_type(add.s(1).clone((2,)), Signature[int])
assert_type(add.s(1)(2), int)
assert_type(~send_mail.s("a@example.org", urgent=True), str)
assert_type(report.s("2026-01-01"), Signature[list[int]])
assert_type(crawl.s("https://example.org").freeze(), AsyncResult[bytes])
assert_type(double.s(), Signature[int])
assert_type(double.s(2), Signature[int])
assert_type(nothing.s(), Signature[None])
assert_type(Mail().s("anyone"), Signature[str])
add.apply_async((1, 2), link=add.s(2), link_error=[nothing.si()])
add.s("x")  # wrong
add.s(1, "2")  # wrong
add.s(1, 2, 3)  # wrong
add.s(z=1)  # wrong
add.si(1)  # wrong
nothing.s(1)  # wrong
add.s(1).apply_async((2,), countdwn=3)  # wrong
add.signature((1,)).set("yes")  # wrong


async def asynchronous() -> None:
    assert_type(await crawl("https://example.org"), bytes)
    result = await add.adelay(1, 2)
    assert_type(await result, int)
    await add.adelay(1, "2")  # wrong


add.delay("x")  # wrong
add.delay(1, "2")  # wrong
add.delay(1)  # wrong
add.delay(1, 2, 3)  # wrong
add(1, z=2)  # wrong
send_mail.delay("a@example.org", urgent="yes")  # wrong
report.delay()  # wrong
report.delay(20260101)  # wrong
crawl.delay(5)  # wrong
crawl_bound.delay(5)  # wrong
double.delay("2")  # wrong


add.apply_async((1, 2), countdwn=3)  # wrong
add.apply_async((1, 2), priority="high")  # wrong
add.delay_many([(1, 2)], eta=5)  # wrong
add.apply((1, 2), thrwo=True)  # wrong
app.send_task("anything", countdwn=3)  # wrong
send_report.delay(5)  # wrong


@app.task(acks_on_failures=False)  # wrong
def misspelt_too() -> None: ...


@app.task(qeue="mails")  # wrong
def misspelt() -> None: ...


delivery = Delivery("key", "queue", Message({}, {}, b""))
delivery.key = "another"  # wrong
Delivery("key", "queue", tga="x")  # wrong
