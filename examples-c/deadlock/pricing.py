"""The task in Python: a coroutine that waits for locks and leaves its event loop free meanwhile."""
import asyncio

import ring


async def acquire(lock):
    """Nobody cancels it here. Where somebody may, the cancelled wait needs selv_op_cancel, or the lock is granted to nobody."""
    loop = asyncio.get_running_loop()
    granted = loop.create_future()

    def settle(refusal):
        if refusal is None:
            granted.set_result(None)
        else:
            granted.set_exception(RuntimeError(refusal))

    # Called once, on whichever thread lets go of the lock.
    def completed(refusal):
        loop.call_soon_threadsafe(settle, refusal)

    if ring.acquire(lock, completed):
        await granted
    ring.has(lock)


async def count_turns():
    """What else the event loop has to do."""
    global turns
    turns = 0
    while True:
        await asyncio.sleep(0.001)
        turns += 1


async def pricing():
    others = asyncio.create_task(count_turns())
    await acquire(ring.PRICES)
    before = turns
    await acquire(ring.STOCK)
    ring.say("counts", f"{turns - before} turns of its event loop while it waited")
    ring.move(ring.PRICES, ring.STOCK)
    ring.release(ring.STOCK)
    ring.release(ring.PRICES)
    others.cancel()


turns = 0
asyncio.run(pricing())
