"""Numbers go from two threads through a channel to asyncio, and from there through another one to Trio.

A channel has a capacity, so whoever is ahead waits: a thread by blocking, a task by awaiting. Nobody polls, and no queue is written twice, once for
threads and once for each loop.

Prints::

    squares that arrived in Trio: 2000
    their sum: 2664667000
"""

import asyncio
import threading

import trio

import selvedge.aio
import selvedge.sync
import selvedge.trio

numbers = selvedge.sync.Channel(capacity=16, name="numbers")
squares = selvedge.sync.Channel(capacity=16, name="squares")


def produce(first: int, stop: int) -> None:
    for number in range(first, stop):
        numbers.send(number)


def in_threads() -> None:
    halves = [threading.Thread(target=produce, args=half) for half in ((0, 1000), (1000, 2000))]
    for half in halves:
        half.start()
    for half in halves:
        half.join()
    numbers.close()  # what is in it can still be received


async def in_asyncio() -> None:
    source, sink = selvedge.aio.Channel(numbers), selvedge.aio.Channel(squares)
    async for number in source:
        await sink.send(number * number)
    squares.close()


async def in_trio() -> None:
    arrived = [square async for square in selvedge.trio.Channel(squares)]
    print("squares that arrived in Trio:", len(arrived))
    print("their sum:", sum(arrived))


def main() -> None:
    others = [threading.Thread(target=in_threads), threading.Thread(target=lambda: asyncio.run(in_asyncio()))]
    for other in others:
        other.start()
    trio.run(in_trio)
    for other in others:
        other.join()


if __name__ == "__main__":
    main()
