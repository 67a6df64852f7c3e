"""Stamped workflows that each side sends as a client, and what each of their calls must have as stamps."""

#: More tasks of the project, which both sides have. Each call writes down its stamps, under its label.
TASKS = """

import json


def note(label, request):
    stamps = getattr(request, "stamps", None)
    names = getattr(request, "stamped_headers", None)
    ledger.rpush("stamps " + label, json.dumps([sorted(names or ()), stamps or {{}}]))


@app.task(bind=True, name="both.mark")
def mark(self, *args, label):
    note(label, self.request)
    return label


@app.task(bind=True, name="both.mark_failing")
def mark_failing(self, *args, label):
    note(label, self.request)
    raise ValueError(label)


@app.task(bind=True, name="both.mark_errback")
def mark_errback(self, task_id, label):
    note(label, self.request)


@app.task(name="both.mark_error")
def mark_error(request, error, traceback, label):
    note(label, request)


@app.task(bind=True, name="both.mark_retried", max_retries=1)
def mark_retried(self, label):
    note(label + str(self.request.retries), self.request)
    if not self.request.retries:
        raise self.retry(countdown=PAUSE)


@app.task(bind=True, name="both.mark_replaced")
def mark_replaced(self, *args, label):
    note(label, self.request)
    return self.replace(mark.si(label="new " + label))
"""

#: Its arguments are the sides that have workers.
STAMPS = """
import json
import sys
from {module} import chain, chord, group
from {module}.canvas import StampingVisitor
from {name} import ledger, mark, mark_errback, mark_error, mark_failing, mark_replaced, mark_retried, same


class Visitor(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {{"own": sig.kwargs.get("label"), "many": ["v"]}}

    def on_group_start(self, sig, **headers):
        return {{"in_group": True}}

    def on_chain_start(self, sig, **headers):
        return {{"in_chain": True}}

    def on_chord_header_start(self, sig, **headers):
        return {{"header": True}}

    def on_chord_body(self, sig, **headers):
        return {{"body": True}}

    def on_callback(self, callback, **headers):
        return {{"on_callback": True}}

    def on_errback(self, errback, **headers):
        return {{"on_errback": True}}


class Told(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {{"tenant": "x", "no_stamp": 5, "stamped_headers": ["tenant"]}}


def check(workflow, stamps, visitor=None, **headers):
    # `stamps` are those of each label; with a visitor also what that gives each call.
    workflow.stamp(visitor, **headers)
    workflow.apply_async()
    for label, own in stamps.items():
        expected = {{**headers, **own}}
        if isinstance(visitor, Visitor):
            expected = {{"own": label, "many": ["v"], **expected}}
        key, text = ledger.blpop("stamps " + label, 30)
        names, found = json.loads(text)
        assert (names, found) == (sorted(expected), expected), (workflow, label, names, found, expected)


def a(label, task=mark):
    return task.s(label=label)


def linked(call, **links):
    for name, link in links.items():
        getattr(call, name)(link)
    return call


x = dict(tenant="x")
visitor = Visitor()
in_chain, in_header, in_body = dict(in_chain=True), dict(header=True), dict(header=True, body=True)
check(a("a"), dict(a={{}}))
check(a("a"), dict(a={{}}), **x, numbers=[1, 2])
check(a("a").set(stamped_headers=["tenant"], tenant="y"), dict(a=dict(tenant="y")))
check(a("a"), dict(a=x), Told())
check(a("a"), dict(a=dict(own="mine", many=["h", "v"])), visitor, own="mine", many=["h"])
check(a("a") | a("b") | a("c"), dict(a={{}}, b={{}}, c={{}}), **x)
one = a("b")
one.stamp(**x)
check(a("a") | one | a("c"), dict(a=dict(color=1), b=dict(color=1, **x), c=dict(color=1)), color=1)
check(a("a") | a("b"), dict(a=in_chain, b=in_chain), visitor, **x)
check(group(a("a"), a("b") | a("c")), dict(a={{}}, b={{}}, c={{}}), **x)
members = dict(a=dict(in_group=True), b=dict(in_group=True, **in_chain), c=dict(in_group=True, **in_chain))
check(group(a("a"), a("b") | a("c")), members, visitor)
check(group(a(one) for one in "ab"), dict(a=dict(in_group=True), b=dict(in_group=True)), visitor)
check(chord([a("a"), a("b")], a("c")), dict(a=in_header, b=in_header, c=in_body), visitor, **x)
whole = a("a") | group(a("b"), a("c")) | a("d") | a("e")
inner, last = dict(in_chain=True, header=True), dict(in_chain=True, header=True, body=True)
check(whole, dict(a=in_chain, b=inner, c=inner, d=last, e=last), visitor)
nested = chord([chord([a("a"), a("b")], a("c")), a("d")], a("e"))
check(nested, dict(a=in_header, b=in_header, c=in_body, d=in_header, e=in_body), visitor)
# Celery's clients stamp bodies by visitors only.
body = x if "{module}" == "umbel" else {{}}
whole = chord([a("a"), a("b")], a("c"))
whole.stamp(**x)
check(whole, dict(a=x, b=x, c=body))
back = dict(on_callback=True)
check(linked(a("a"), link=linked(a("b"), link=a("c"))), dict(a={{}}, b=back, c=back), visitor, **x)
whole = linked(a("a") | a("b"), link=a("c"))
check(whole, dict(a=in_chain, b=in_chain, c=dict(**in_chain, **back)), visitor)
whole = linked(chord([a("a"), a("b")], a("c")), link=a("d"))
check(whole, dict(a=in_header, b=in_header, c=in_body, d=dict(on_callback=True, **in_body)), visitor, **x)
back = dict(on_errback=True)
check(linked(a("a", mark_failing), link_error=a("b", mark_errback)), dict(a={{}}, b=back), visitor, **x)
check(linked(a("a", mark_failing), link_error=a("b", mark_error)), dict(a={{}}, b={{}}), **x)
whole = linked(chain(a("a"), a("b", mark_failing), a("never")), link_error=a("c", mark_errback))
check(whole, dict(a=in_chain, b=in_chain, c=dict(in_chain=True, **back)), visitor)
whole = chord([a("a"), a("b", mark_failing)], a("never").on_error(a("c", mark_errback)))
check(whole, dict(a=in_header, b=in_header, c=dict(on_errback=True, **in_body)), visitor, **x)
check(a("a", mark_retried), dict(a0={{}}, a1={{}}), **x)
# What takes the place of a call has its own stamps.
whole = a("a") | a("b", mark_replaced) | a("c")
whole.stamp(**x)
check(whole, dict(a=x, b=x, c=x, **{{"new b": {{}}}}))
check(group(same.map([1, 2]), a("a")), dict(a={{}}), **x)
if "{module}" == "umbel" or sys.argv[1:] == ["umbel"]:
    # Celery's workers stumble over what its client makes of this: the body names stamps that it has not.
    whole = chord([a("a"), a("b") | a("c")], a("d"))
    both = dict(header=True, in_chain=True)
    check(whole, dict(b=both, c=both, d=in_body), visitor)
if "{module}" == "umbel":  # Celery's client stumbles by itself
    check(chord((a(one) for one in "ab"), a("c")), dict(a=in_header, b=in_header, c=in_body), visitor)
print("all well")
"""
