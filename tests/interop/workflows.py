"""Workflows that each side sends as a client, for workers of either, and what must come of them."""

#: More tasks of the project, which both sides have.
TASKS = """


@app.task(name="both.add")
def add(x, y):
    return x + y


@app.task(name="both.total")
def total(numbers):
    return sum(numbers)


@app.task(name="both.same")
def same(value):
    return value


@app.task(bind=True, name="both.countdown")
def countdown(self, number):
    if number:
        return self.replace(countdown.s(number - 1))
    return "start"


@app.task(bind=True, name="both.spread")
def spread(self, number):
    return self.replace(group(add.s(number, one) for one in range(3)))


@app.task(bind=True, name="both.grow")
def grow(self, number):
    self.add_to_chord(same.s(number * 10))
    return number
"""

WORKFLOWS = """
from {module} import chain, chord, group
from {name} import add, app, countdown, echo, fail, grow, ledger, same, spread, tell, tell_error, total

wait = dict(timeout=30)


def check(workflow, expected):
    found = workflow.apply_async().get(**wait)
    assert found == expected, (workflow, found, expected)


check(add.s(1, 2) | add.s(3) | add.s(4), 10)
check(chain(add.si(i, i) for i in range(20)), 38)
check(group(add.s(i, i) for i in range(10)), [2 * i for i in range(10)])
check(group(add.s(i, i) for i in range(30)) | total.s(), 870)
check(add.s(1, 1) | group(add.s(1), add.s(2), add.s(3)) | total.s() | add.s(100), 112)
check(chord([add.s(1, 1), add.s(2, 2) | add.s(3)], total.s()), 9)
check(chord([chord([add.s(1, 1), add.s(2, 2)], total.s()), add.s(3, 3)], total.s()), 12)
check(chord([add.s(1, 1), add.s(2, 2)], total.s() | add.s(5) | group(add.s(1), add.s(2))), [12, 13])
check(chain(chord([same.s(i) for i in range(4)], same.s()) | total.s() for _ in range(1)), 6)
check(group(add.s(1, 1), add.s(2, 2)) | total.s() | group(add.s(i) for i in range(5)) | total.s(), 40)
check(chord([add.s(1, 2), add.s(3, 4) | group(add.s(1), add.s(2))], same.s()), [3, [8, 9]])
check(chord([], total.s()), 0)
check(add.starmap([(1, 2), (3, 4)]), [3, 7])
check(same.map([1, 2, 3]), [1, 2, 3])
assert add.chunks([(i, i) for i in range(5)], 2)().get(**wait) == [[0, 2], [4, 6], [8]]
pairs = [(i, i) for i in range(5)]
parts = [[0, 2], [4, 6], [8]]
check(group(same.map([1, 2]), add.starmap(pairs)), [[1, 2], [0, 2, 4, 6, 8]])
check(group(same.map([1, 2]), same.map([3])) | same.s() | same.s(), [[1, 2], [3]])
check(add.s(1, 1) | same.map([1, 2]) | total.s(), 3)
check(add.starmap(pairs) | total.s() | add.s(1), 21)
check(same.map([1]) | group(total.s(), total.s()), [1, 1])
check(chord([same.map([1, 2]) | total.s(), add.s(1, 1)], total.s()), 5)
check(chord([add.s(1, 1), add.s(2, 2)], add.starmap(pairs)), [0, 2, 4, 6, 8])
check(add.chunks(pairs, 2).group() | same.s(), parts)
check(add.s(1, 1) | add.chunks(pairs, 2).group(), parts)
check(add.s(1, 1) | add.chunks(pairs, 2).group() | same.s() | same.s(), parts)
check(chord([add.s(1, 1), add.s(2, 2)], add.chunks(pairs, 2).group()), parts)
if "{module}" == "umbel":  # chunks that are no group have ids as their value in Celery
    check(add.s(1, 1) | add.chunks(pairs, 2), parts)
    check(add.chunks(pairs, 2) | same.s(), parts)
    check(chord(add.chunks(pairs, 2), same.s()), parts)
    check(group(add.chunks(pairs, 2), add.s(1, 1)), [*parts, 2])
    check(chord([add.s(1, 1), same.map([1])], add.chunks(pairs, 2)), parts)
check(countdown.s(5), "start")
check(countdown.s(2) | same.s(), "start")
check(spread.s(4) | total.s(), 15)
check(chord([spread.s(1), countdown.s(3), add.s(1, 1)], same.s()), [[1, 2, 3], "start", 2])
assert sorted(chord([grow.s(7), same.s(1)], same.s())().get(**wait)) == [1, 7, 70]
linked = add.s(1, 1)
linked.link(group(echo.s(1).set(task_id="linked"), echo.s(2)))
linked.apply_async()
assert app.AsyncResult("linked").get(**wait) == [[2, 1], {{}}]


def failing(workflow, words):
    try:
        found = workflow.apply_async().get(**wait)
    except Exception as error:
        assert words in repr(error), error
    else:
        raise AssertionError((workflow, found))


def told():
    return ledger.blpop("told", 20)[1].decode()


failing(add.s(1, 1) | fail.si("no") | add.s(1), "no")
failing(chord([add.s(1, 1), fail.s("no")], total.s()), "no")
failing(chord([add.s(1, 1), fail.si("no") | add.s(1)], total.s()), "no")
failing(chord([chord([fail.s("no")], total.s()), add.s(3, 3)], total.s()), "no")
failing(chord([fail.s("no"), add.s(1, 1)], total.s()) | add.s(1) | add.s(2), "no")
failing(add.s(1, 1) | fail.map(["no"]) | total.s(), "no")
failing(fail.chunks([("no",)], 1).group() | same.s(), "no")
failing(chord([fail.starmap([("no",)]), same.map([1])], same.s()), "no")
body = total.s().set(task_id="body")
body.link_error(tell.s())
failing(chord([fail.s("no"), add.s(1, 1)], body), "no")
assert told() == "body"
body = total.s().set(task_id="another")
body.link_error(tell_error.s())
failing(chord([fail.s("no"), add.s(1, 1)], body), "no")
assert told().startswith("another ChordError")
print("all well")
"""
