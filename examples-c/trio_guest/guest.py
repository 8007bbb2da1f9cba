"""The guest, a Trio program as any other: a shop on loopback and its customers, in tasks of one thread, which is the host's. Each quote
is made in Java, by a blocking call in another thread. Only the last lines know that there is a host."""
import traceback

import host
import outcome
import trio

ITEMS = ["apples", "pears", "plums", "quinces"]
CUSTOMERS = 6


async def serve(stream):
    async for item in stream:
        quote = await trio.to_thread.run_sync(host.quote, item.decode(), limiter=clerks)
        await stream.send_all(quote.encode())


async def buy(port, number):
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        for item in ITEMS:
            await stream.send_all(item.encode())
            assert (await stream.receive_some()).decode().startswith(item)
            await trio.sleep(0.002)
    host.say(f"customer {number} has all quotes")


async def shop():
    global clerks
    clerks = trio.CapacityLimiter(3)
    async with trio.open_nursery() as serving:
        listener, = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        serving.start_soon(trio.serve_listeners, serve, [listener])
        host.say("the shop is open")
        async with trio.open_nursery() as buying:
            for number in range(CUSTOMERS):
                buying.start_soon(buy, port, number)
        serving.cancel_scope.cancel()
    host.say("the shop is closed")


class HostThreads:
    """In the place of Trio's own threads: for its blocking calls, and for the polls of its guest mode."""

    start_thread_soon = staticmethod(host.start_thread_soon)
    _idle_workers = {}  # Trio clears this in a child of os.fork


def done(result):
    failed = isinstance(result, outcome.Error)
    if failed:
        traceback.print_exception(result.error)
    host.done(not failed)


trio._core._thread_cache.THREAD_CACHE = HostThreads()  # Trio has no public way; looked up anew at each call (0.35)
trio.lowlevel.start_guest_run(shop, run_sync_soon_threadsafe=host.call_soon, done_callback=done)
