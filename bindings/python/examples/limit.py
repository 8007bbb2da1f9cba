"""At most three at a time may use the database: calls that Trio runs in threads, asyncio's tasks, and a thread.

One limiter has the tokens. Its face for Trio goes where Trio's own would go, into ``trio.to_thread.run_sync``.

Prints::

    uses: 60
    never more than 3 at a time: True
"""

import asyncio
import threading
import time

import trio

import selvedge.aio
import selvedge.sync
import selvedge.trio

database = selvedge.sync.CapacityLimiter(3, name="database")
counting = threading.Lock()
uses = now = most = 0


def begin() -> None:
    global uses, now, most
    with counting:
        uses += 1
        now += 1
        most = max(most, now)


def end() -> None:
    global now
    with counting:
        now -= 1


def use() -> None:
    begin()
    time.sleep(0.001)
    end()


async def with_trio() -> None:
    tokens = selvedge.trio.CapacityLimiter(database)

    async def one() -> None:
        # Trio's annotation names its own class; it only calls the methods.
        await trio.to_thread.run_sync(use, limiter=tokens)  # type: ignore[arg-type]

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one)


async def with_asyncio() -> None:
    tokens = selvedge.aio.CapacityLimiter(database)

    async def one() -> None:
        async with tokens:
            begin()
            await asyncio.sleep(0.001)
            end()

    await asyncio.gather(*(one() for _ in range(20)))


def with_a_thread() -> None:
    for _ in range(20):
        with database:
            use()


def main() -> None:
    others = [threading.Thread(target=with_a_thread), threading.Thread(target=lambda: asyncio.run(with_asyncio()))]
    for other in others:
        other.start()
    trio.run(with_trio)
    for other in others:
        other.join()
    print("uses:", uses)
    print("never more than 3 at a time:", most <= 3)


if __name__ == "__main__":
    main()
