"""What `selvedge.aio` does when a task is cancelled while another thread is just bringing it what it waits for."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import selvedge
from selvedge import aio, sync
from selvedge._face_aio import Wait, kept, waiter


def test_a_cancel_that_is_too_late_waits_to_be_told() -> None:
    """Another thread has granted the operation, and has not yet told the loop: the result counts, not the cancel."""

    async def main() -> None:
        withdrawals = 0
        reached_the_next_wait = False

        def too_late() -> bool:
            nonlocal withdrawals
            withdrawals += 1
            return False

        async def sends() -> str:
            nonlocal reached_the_next_wait
            part, _ = waiter(None)
            wait = Wait(part)
            told.append(wait)
            result: str = await kept(wait, None, too_late)  # type: ignore[arg-type]
            reached_the_next_wait = True
            await asyncio.sleep(60)
            return result

        told: list[Wait] = []
        task = asyncio.create_task(sends())
        await asyncio.sleep(0)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not task.done()
        assert withdrawals == 3
        told[0](0, "sent")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert reached_the_next_wait

    asyncio.run(asyncio.wait_for(main(), 60))


def test_what_was_cancelled_was_not_sent() -> None:
    """Two threads receive, and each send is cancelled as it is under way."""
    channel = sync.Channel(0)
    received: set[bytes] = set()

    def receive() -> None:
        try:
            while True:
                received.add(channel.recv_bytes())
        except selvedge.ClosedResourceError:
            pass

    threads = [threading.Thread(target=receive, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()

    async def main() -> None:
        face = aio.Channel(channel)
        unsent: list[bytes] = []
        number = 0
        end = time.monotonic() + 2
        while time.monotonic() < end:
            items = [b"%d" % i for i in range(number, number + 20)]
            number += 20
            tasks = [asyncio.ensure_future(face.send_bytes(item)) for item in items]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            unsent += [
                item for item, result in zip(items, results) if isinstance(result, asyncio.CancelledError)
            ]
        channel.close()
        for thread in threads:
            thread.join(30)
        assert received.isdisjoint(unsent)
        assert len(received) + len(unsent) == number

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_condition_waited_for_with_a_timeout() -> None:
    """asyncio.wait_for runs the wait in a task of its own before 3.12: the caller's holds the lock all the same."""

    async def main() -> None:
        condition = aio.Condition()
        seen: list[int] = []

        async def notifies() -> None:
            async with condition:
                seen.append(1)
                condition.notify_all()

        async with condition:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(condition.wait_for(lambda: False), 0.01)
            task = asyncio.create_task(notifies())
            assert await asyncio.wait_for(condition.wait_for(lambda: list(seen)), 30) == [1]
            assert condition.locked()
        await task
        assert not condition.locked()

    asyncio.run(asyncio.wait_for(main(), 60))
