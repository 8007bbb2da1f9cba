"""The native locks: tasks, the primitives with their blocking and their ``_async`` forms, and the wait graph.

`selvedge.sync` shows the blocking half of these classes under the names that `threading` uses; `selvedge.aio` and
`selvedge.trio` await the
other half. All faces of one object stand in one line.

**Whose.** Blocking methods act for the caller's own task unless ``task=`` names another: the greenlet, if one runs
that is not the main one of
its thread; else the job of a cache, or the thread. ``task=0`` is the default and means that.

**The _async forms**, ``<op>_async(task, loop, done, ...)``, take no thread. ``task`` is a number from `task_new` or
`task_current`; ``loop`` is
`selvedge._loop.HostLoop.address`. They return None if the operation was satisfied at once: then ``done`` is never
called. Otherwise an `Op`, and
``done(status, value)`` is called exactly once, on the loop's thread while it drains, never inside the call that began
the operation, and never
after an `Op.abandon` that returned True. Errors that are known at once are raised, and then there is no operation.

- ``status >= 0``: granted. 0 is SELV_OK; 2 is SELV_OWNER_DIED (a robust lock, which is held now, and whose
  `Lock.inconsistent` is True).
  ``value`` is what was received (bytes), or None.
- ``status < 0``: not granted. ``value`` is the exception, made and not raised: ``raise value`` has the names of lock
  and owner, and the ring.
- A cancelled operation is told through ``done`` as well, with status -7 and a `selvedge.CancelledError`. A condition's
  waiter has its lock back first.
- At the interpreter's exit what is still pending is abandoned.
- A loop that was closed before its turn: status -12, on the thread that completed or closed; what was granted has gone
  to the next.

An exception that ``done`` raises goes to `sys.unraisablehook`.

What gives something back (``release``, ``set``, ``notify``, ``send``, ``close``, `task_exit`) keeps the GIL. Completions
of C code that name no host loop run inside such a call, so they must not wait for a thread that needs the GIL.
"""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Literal, Protocol, TypeVar, final

from typing_extensions import Buffer, Self

_T = TypeVar("_T")
_N_co = TypeVar("_N_co", covariant=True)

Done = Callable[[int, Any], object]

class Face(Protocol[_N_co]):
    """Anything with the native object of a primitive: the objects of this module, and their awaited faces."""

    @property
    def native(self) -> _N_co: ...

@final
class TaskReport(tuple[int, int, int, int, int, int, tuple[tuple[str, str], ...]]):
    """What a task had in hand when it ended."""

    @property
    def locks_broken(self) -> int: ...
    @property
    def locks_handed_on(self) -> int: ...
    @property
    def waits_cancelled(self) -> int: ...
    @property
    def grants_passed_on(self) -> int: ...
    @property
    def tokens_returned(self) -> int: ...
    @property
    def lots_broken(self) -> int: ...
    @property
    def items(self) -> tuple[tuple[str, str], ...]:
        """A pair for each: what happened to it ("lock broken", "lock handed on", "wait cancelled", "grant passed on",
        "token returned" or "lot broken"), and its name, "" if it has none.
        """

OK: Final[int]
OWNER_DIED: Final[int]
E_CANCELLED: Final[int]
E_CLOSED: Final[int]

def task_new(name: str | None = None) -> int:
    """Makes a task: a number that is never used again. Messages call it by the first 47 bytes of its name."""

def task_exit(task: int, /) -> TaskReport:
    """Ends a task made by `task_new`: what it holds breaks, what it waits for is cancelled. After all its other calls.
    StaleTaskError the second time.
    """

def task_current() -> int:
    """The task that the caller acts for: see the top. In a greenlet that has none, it is made."""

def task_enter(task: int, /) -> int:
    """Makes ``task`` the one that the calling thread (or, inside one, the greenlet) acts for, and returns what was
    entered before, 0 for nothing.

    ``task_enter(0)`` goes back to the greenlet's, job's or thread's own.
    """

def task_leave(previous: int = 0) -> None:
    """Undoes a `task_enter`, with what that returned."""

def task_interrupt(task: int, /) -> None:
    """Has the task's blocking wait, or its next one, end with CancelledError. The main thread of Python is woken by
    signals instead, not by this.
    """

def wait_graph(format: Literal["text", "json", "dot"] = "text") -> str:
    """Who holds and who waits for what, in the whole process, of all languages."""

@final
class Op:
    """A pending operation. It keeps its primitive alive until it is told, and may be dropped: that does not end it."""

    def cancel(self) -> bool:
        """Has the operation end with CancelledError, through ``done``. False: too late, it has been granted or has
        ended, and ``done`` has been or will be told so.
        """

    def abandon(self) -> bool:
        """Ends it without ``done``; what it was granted meanwhile goes to the next. False: ``done`` has been called or
        is being called.
        """

    @property
    def told(self) -> bool:
        """True as soon as ``done`` has begun, or after an abandon."""

    @property
    def holds_lock(self) -> bool:
        """Of a condition's wait, when it is told: whether the task holds the lock."""

class _Primitive:
    """What all have in common. An object lives as long as somebody refers to it, in whichever interpreter; the last
    reference frees it, also while a task holds it.
    """

    @property
    def name(self) -> str | None:
        """What messages and the wait graph call it."""

    @property
    def id(self) -> int:
        """A number of this process for `open`, good as long as an object of this primitive lives somewhere in the
        process.
        """

    @classmethod
    def open(cls, id: int, /) -> Self:
        """Another object of the same primitive, for another interpreter. ClosedResourceError if none lives any more,
        TypeError if it is of another kind.
        """

    @property
    def address(self) -> int:
        """The ``selv_...*`` of the C interface, for code in C. It is good as long as this object lives."""

    @property
    def native(self) -> Self:
        """The object itself: so each face can be made from any other."""

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""

    def close(self) -> None:
        """Sends everybody in line away with ClosedResourceError, and lets nobody in any more. What is held can be
        released. Any thread; does not block.
        """

    def stats(self) -> dict[str, int]:
        """How it stands and what has happened to it: the fields of its ``selv_..._stats``."""

class _BaseLock(_Primitive):
    def acquire(self, blocking: bool = True, timeout: float = -1, *, task: int = 0) -> bool:
        """Takes the lock; False if it was not to be had without waiting, or in ``timeout`` seconds (-1: no limit).

        Blocks without the GIL; on Python's main thread signals are handled meanwhile. DeadlockError if the caller has
        it already (except of an
        RLock) or the wait would close a ring; BrokenResourceError if its owner ended while holding it;
        ClosedResourceError; ForkedError.
        """

    def release(self, *, task: int = 0) -> None:
        """Gives it back. NotOwnerError if the caller does not hold it. Does not block."""

    def __enter__(self) -> bool: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    def locked(self) -> bool:
        """Whether somebody holds it."""

    def acquire_async(self, task: int, loop: int, done: Done) -> Op | None:
        """Takes the lock for ``task``, or stands in line for it. See the top."""

    def repair(self, *, task: int = 0) -> None:
        """Takes a broken lock and makes it whole. ValueError if it is not broken (any more). In a fork child also one
        that a thread of the parent held.
        """

    def make_consistent(self, *, task: int = 0) -> None:
        """Of a robust lock whose last owner ended while holding it: what it protects is in order again."""

    @property
    def inconsistent(self) -> bool:
        """Of a robust lock: it was acquired after its owner ended, and neither `make_consistent` nor the release has
        come.
        """

    @property
    def broken(self) -> bool:
        """Whether it is broken, or a robust one not recoverable."""

    @property
    def owner(self) -> int:
        """The task that holds it, 0 for none."""

    def _is_owned(self) -> bool: ...
    def _recursion_count(self) -> int: ...
    def _release_save(self) -> int: ...
    def _acquire_restore(self, depth: int, /) -> None: ...
    def _at_fork_reinit(self) -> None: ...

class Lock(_BaseLock):
    """A lock that belongs to a task: only that releases it, and if the task ends while holding it, it breaks instead
    of hanging everybody.

    ``strict_fifo``: always handed over in order. ``robust``: the next owner gets it, and is told by `inconsistent`.
    ``timed_deadlock``: waits with a
    timeout count for deadlock, too. ``shared``: not a new lock, but the one of this face.
    """

    def __new__(
        cls,
        shared: Face[Lock] | None = None,
        *,
        name: str | None = None,
        strict_fifo: bool = False,
        robust: bool = False,
        timed_deadlock: bool = False,
    ) -> Self: ...

class RLock(_BaseLock):
    """A `Lock` that its owner may acquire again, and releases as often."""

    def __new__(
        cls,
        shared: Face[RLock] | None = None,
        *,
        name: str | None = None,
        strict_fifo: bool = False,
        robust: bool = False,
        timed_deadlock: bool = False,
    ) -> Self: ...

class Condition(_Primitive):
    """Waits for a change of what a lock protects. ``lock`` is a `Lock` or `RLock` of ours, or a face of one; None
    makes an RLock.

    A face of a condition in the place of ``lock`` gives that condition.
    """

    def __new__(
        cls, lock: Face[Lock] | Face[RLock] | Face[Condition] | None = None, *, name: str | None = None
    ) -> Self: ...
    @property
    def lock(self) -> Lock | RLock: ...
    def acquire(self, blocking: bool = True, timeout: float = -1, *, task: int = 0) -> bool: ...
    def release(self, *, task: int = 0) -> None: ...
    def __enter__(self) -> bool: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    def wait(self, timeout: float | None = None, *, task: int = 0) -> bool:
        """Lets go of the lock, waits to be notified, and has the lock back. False if ``timeout`` seconds passed first.

        BrokenResourceError if the lock breaks meanwhile: then it is not held. NotOwnerError if the caller does not
        hold the lock.
        """

    def wait_for(self, predicate: Callable[[], _T], timeout: float | None = None) -> _T:
        """Waits until ``predicate()`` is true, or the time has passed; returns its last value."""

    def notify(self, n: int = 1, *, task: int = 0) -> None:
        """Notifies up to ``n`` waiters, who waits longest first. NotOwnerError if the caller does not hold the lock."""

    def notify_all(self, *, task: int = 0) -> None:
        """Notifies all."""

    def wait_async(self, task: int, loop: int, done: Done) -> Op:
        """`wait` with no thread; always an `Op`, whose `Op.holds_lock` tells how it ended."""

class Semaphore(_Primitive):
    """A number of permits, which nobody owns. First come, first served."""

    def __new__(cls, value: int | Face[Semaphore] = 1, *, name: str | None = None) -> Self: ...
    @property
    def value(self) -> int:
        """Permits that are free now."""

    def acquire(self, blocking: bool = True, timeout: float | None = None, *, n: int = 1, task: int = 0) -> bool:
        """Takes ``n`` permits; False if they were not to be had without waiting, or in ``timeout`` seconds."""

    def release(self, n: int = 1) -> None:
        """Gives ``n`` permits back, or makes them. LimitError (a ValueError) of a `BoundedSemaphore` that would have
        more than at first.
        """

    def __enter__(self) -> bool: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    def acquire_async(self, task: int, loop: int, done: Done, n: int = 1) -> Op | None: ...

class BoundedSemaphore(Semaphore):
    """A `Semaphore` that never has more permits than at first, or than ``max``."""

    def __new__(
        cls, value: int | Face[BoundedSemaphore] = 1, *, max: int | None = None, name: str | None = None
    ) -> Self: ...
    @property
    def max(self) -> int: ...

class CapacityLimiter(_Primitive):
    """A number of tokens, at most one for each borrower. A task that ends returns its token.

    ``on_behalf_of`` is any hashable object, or a number for code in C: it has the token instead of the task, until it
    is released for it.
    """

    def __new__(cls, total_tokens: float | Face[CapacityLimiter], *, name: str | None = None) -> Self: ...
    @property
    def total_tokens(self) -> float:
        """How many there are; may be set, also below what is borrowed. math.inf: no bound."""

    @total_tokens.setter
    def total_tokens(self, total: float) -> None: ...
    @property
    def borrowed_tokens(self) -> int: ...
    @property
    def available_tokens(self) -> float: ...
    @property
    def borrowers(self) -> list[object]:
        """The ``on_behalf_of`` objects that have a token, as far as this object gave it."""

    def acquire(
        self, blocking: bool = True, timeout: float | None = None, *, on_behalf_of: object = None, task: int = 0
    ) -> bool:
        """Takes a token. DuplicateError if the borrower has one or waits for one; DeadlockError (of a limiter of 1)."""

    def release(self, *, on_behalf_of: object = None, task: int = 0) -> None:
        """Returns it. NotOwnerError if the borrower has none."""

    def __enter__(self) -> bool: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    def acquire_async(self, task: int, loop: int, done: Done, *, on_behalf_of: object = None) -> Op | None: ...

class Event(_Primitive):
    """Something that has happened or not. Who waits when it is set goes, also if it is cleared at once."""

    def __new__(cls, shared: Face[Event] | None = None, *, name: str | None = None) -> Self: ...
    def is_set(self) -> bool: ...
    def set(self) -> None: ...
    def clear(self) -> None: ...
    def wait(self, timeout: float | None = None, *, task: int = 0) -> bool:
        """Waits until it is set; False if ``timeout`` seconds passed first."""

    def wait_async(self, task: int, loop: int, done: Done) -> Op | None: ...

class ParkingLot(_Primitive):
    """A line of waiters, from which other primitives are made."""

    def __new__(cls, shared: Face[ParkingLot] | None = None, *, name: str | None = None) -> Self: ...
    def park(self, timeout: float | None = None, *, task: int = 0) -> bool:
        """Waits to be unparked; False if ``timeout`` seconds passed first. BrokenResourceError if the lot breaks or is
        broken.
        """

    def park_async(self, task: int, loop: int, done: Done) -> Op: ...
    def unpark(self, n: int = 1) -> int:
        """Lets up to ``n`` go, who is parked longest first; returns how many there were."""

    def unpark_all(self) -> int: ...
    def repark(self, to: Face[ParkingLot], n: int = 1) -> int:
        """Moves up to ``n`` to the end of another lot."""

    def repark_all(self, to: Face[ParkingLot], /) -> int: ...
    def break_lot(self, *, task: int = 0) -> None:
        """Breaks it, now and for ever; ``task`` is who messages name."""

    def add_breaker(self, *, task: int = 0) -> None:
        """Has it break when the task ends."""

    def remove_breaker(self, *, task: int = 0) -> None: ...
    @property
    def broken(self) -> bool: ...
    @property
    def waiting(self) -> int: ...

class Channel(_Primitive):
    """A line of items from any senders to any receivers, of any threads, loops and interpreters.

    ``capacity``: how many items it holds before a send waits; None: any number; 0: none, each send waits for its
    receiver.
    ``send`` and ``recv`` carry objects, pickled; ``send_bytes`` and ``recv_bytes`` carry bytes as they are. Iterating
    receives until it is closed.
    """

    def __new__(cls, capacity: int | Face[Channel] | None = None, *, name: str | None = None) -> Self: ...
    @property
    def capacity(self) -> int | None: ...
    def send(self, obj: object, timeout: float | None = None, *, task: int = 0) -> None:
        """Sends a pickled object, waiting for room. TimedOutError after ``timeout`` seconds; ClosedResourceError. On
        an error it was not sent.
        """

    def recv(self, timeout: float | None = None, *, task: int = 0) -> Any:
        """Receives the next object. TimedOutError; ClosedResourceError when it is closed and empty. Only for senders
        that one trusts: it unpickles.
        """

    def send_nowait(self, obj: object, /) -> None:
        """`send` that raises WouldBlock instead of waiting."""

    def recv_nowait(self) -> Any:
        """`recv` that raises WouldBlock instead of waiting."""

    def send_bytes(self, data: Buffer, timeout: float | None = None, *, task: int = 0) -> None: ...
    def recv_bytes(self, timeout: float | None = None, *, task: int = 0) -> bytes: ...
    def send_bytes_nowait(self, data: Buffer, /) -> None: ...
    def recv_bytes_nowait(self) -> bytes: ...
    def send_bytes_async(self, task: int, loop: int, done: Done, data: Buffer) -> Op | None:
        """The bytes are copied now."""

    def recv_bytes_async(self, task: int, loop: int, done: Done) -> Op:
        """Always an `Op`; ``value`` is the bytes."""

    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
    def __len__(self) -> int:
        """Items that were sent and not received."""
