"""A job ends while it holds the lock of an account that it has half changed. Who waits is told, and the one who knows the data puts it right.

Prints::

    a task of asyncio: the lock is broken
    the owner of the data: 100 pieces, as before
    a task of asyncio: 100 pieces
"""

import asyncio

import selvedge
import selvedge.aio
import selvedge.sync

lock = selvedge.sync.Lock(name="account")
account = {"here": 60, "there": 40}


def careless() -> None:
    """Moves ten pieces, and forgets the second half of that and the lock."""
    lock.acquire()
    account["here"] -= 10


def put_right() -> None:
    """Blocks, so it runs on a worker."""
    lock.repair()  # takes the lock, and makes it whole
    account["here"] = 100 - account["there"]
    print("the owner of the data:", sum(account.values()), "pieces, as before")
    lock.release()


async def main() -> None:
    loop = asyncio.get_running_loop()
    with selvedge.Executor() as pool:
        await loop.run_in_executor(pool, careless)
        face = selvedge.aio.Lock(lock)
        try:
            async with face:
                print("this is not printed")
        except selvedge.BrokenResourceError:
            print("a task of asyncio: the lock is broken")
        await loop.run_in_executor(pool, put_right)
        async with face:
            print("a task of asyncio:", sum(account.values()), "pieces")


if __name__ == "__main__":
    asyncio.run(main())
