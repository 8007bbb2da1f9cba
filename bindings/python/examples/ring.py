"""A thread, an asyncio task and a Trio task wait for each other's locks, in a ring. The last one to join it is told, and the other two go on.

Each takes one lock, waits until all three have one, and then wants the next. Without the library's look for rings the program would hang; who is
refused depends on who comes last.

Prints::

    locks in the ring: apple cherry plum
    had both: 2, refused: 1
"""

import asyncio
import threading

import trio

import selvedge
import selvedge.aio
import selvedge.sync
import selvedge.trio

apple, cherry, plum = (selvedge.sync.Lock(name=name) for name in ("apple", "cherry", "plum"))
met = threading.Barrier(3)  # each of the three is in a thread of its own, and has nothing else to do
outcomes: list[str] = []


def refused(error: selvedge.DeadlockError) -> None:
    fruits = sorted(name for name in error.ring if name in ("apple", "cherry", "plum"))
    print("locks in the ring:", *fruits)
    outcomes.append("refused")


def with_threads() -> None:
    with apple:
        met.wait()
        try:
            with cherry:
                outcomes.append("had both")
        except selvedge.DeadlockError as error:
            refused(error)


async def with_asyncio() -> None:
    async with selvedge.aio.Lock(cherry):
        met.wait()
        try:
            async with selvedge.aio.Lock(plum):
                outcomes.append("had both")
        except selvedge.DeadlockError as error:
            refused(error)


async def with_trio() -> None:
    async with selvedge.trio.Lock(plum):
        met.wait()
        try:
            async with selvedge.trio.Lock(apple):
                outcomes.append("had both")
        except selvedge.DeadlockError as error:
            refused(error)


def main() -> None:
    threads = [
        threading.Thread(target=with_threads),
        threading.Thread(target=lambda: asyncio.run(with_asyncio())),
        threading.Thread(target=trio.run, args=[with_trio]),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"had both: {outcomes.count('had both')}, refused: {outcomes.count('refused')}")


if __name__ == "__main__":
    main()
