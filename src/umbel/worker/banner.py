"""What a worker prints when it starts."""

from __future__ import annotations

import platform

from umbel._version import __version__
from umbel.app import Umbel
from umbel.topology import described
from umbel.worker.bootstrap import Orders


def banner(app: Umbel, orders: Orders) -> str:
    """Return the worker's configuration as a few lines of text."""
    executor = orders.executor
    concurrency = "1" if executor == "solo" else str(orders.concurrency)
    children = str(orders.children)
    if orders.most is not None:
        children = f"{{min={children}, max={orders.most}}}"
    if orders.slots and children != "1":
        concurrency = f"{children} x {concurrency}"
    elif orders.most is not None:
        concurrency = children
    lines = [
        f"{orders.hostname} umbel v{__version__}, Python {platform.python_version()}",
        "",
        f"  app:         {orders.source.app}",
        f"  broker:      {app.show_url(app.broker_url)}",
        f"  results:     {app.show_url(app.result_url) if app.result_url else 'not kept'}",
        f"  concurrency: {concurrency} ({executor})",
        "",
        "[queues]",
        *(f"  {described(app.amqp.queues[name])}" for name in sorted(orders.queues)),
        "",
    ]
    if orders.loglevel.upper() in ("INFO", "DEBUG"):
        lines.append("[tasks]")
        lines += [f"  . {name}" for name in app.tasks]
        lines.append("")
    return "\n".join(lines)
