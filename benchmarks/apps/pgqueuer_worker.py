"""A worker of pgqueuer: its command line does not get along with each version of typer."""

from __future__ import annotations

import asyncio

from benchmarks.apps.pgqueuer_app import main


async def run() -> None:
    worker = await main()
    await worker.run(batch_size=100)


if __name__ == "__main__":
    asyncio.run(run())
