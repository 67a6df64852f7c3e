"""The apps that are compared, one module each, with the same names in all of them.

``send()`` sends one ``noop(1, 2)``, ``call()`` sends one and waits for its result, ``bulk(count)`` sends many
at once, where the library can. ``nap(number)`` is a task of 50 ms that says which one it was, and
``send_nap(number)`` sends it. They may be coroutine functions; then ``opened()`` is the context that they
run in.

The environment says where messages go (``BENCH_URL``) and whether results are kept (``BENCH_RESULTS``).
"""
