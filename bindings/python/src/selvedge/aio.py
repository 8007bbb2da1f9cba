"""Locks for asyncio, with asyncio's signatures, on objects that threads and Trio tasks can share.

Each class makes a new object, or is another face of one that exists::

    lock = selvedge.aio.Lock()
    lock = selvedge.aio.Lock(thread_lock)  # a selvedge.sync.Lock, or a selvedge.trio.Lock

All who want it, threads, asyncio tasks of any event loop, Trio tasks, greenlets, stand in one line, in order. The same
face may be used by several event loops, on several threads. Methods that do not wait (``release``, ``set``, ``notify``
...) may be called on any thread; outside of a task they act for the thread.

**Whose.** What is owned belongs to the asyncio task that called ``acquire``, and only that releases it. (So
``wait_for(lock.acquire(), 1)`` is for the caller, also where asyncio awaits it in a task of its own.) If a task ends
while it holds a lock, the lock breaks: everybody who waits, and everybody who comes later, has
`selvedge.BrokenResourceError` instead of waiting for ever. A wait that would close a ring of such waits, of whatever
kind, raises `selvedge.DeadlockError`, which tells the ring; and so does a `Lock` acquired twice.

**Cancelling.** A cancelled task leaves the line. If it had been granted what it waited for and has not come to run,
that goes to the next, as with asyncio's own locks; nothing is lost. An item that was sent or received on a `Channel`
cannot be undone: there the result counts, and the cancellation comes at the next ``await``. `asyncio.timeout` and
`asyncio.wait_for` work as always.
"""

from __future__ import annotations

from selvedge import _face_aio_flow, _face_aio_locks
from selvedge._face_aio_flow import Barrier, BrokenBarrierError, CapacityLimiter, Channel, Event
from selvedge._face_aio_locks import BoundedSemaphore, Condition, Lock, RLock, Semaphore
from selvedge._faces import publish

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "CapacityLimiter",
    "Channel",
    "Condition",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
]

publish(__name__, _face_aio_flow, _face_aio_locks)
