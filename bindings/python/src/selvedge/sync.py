"""Locks for threads and greenlets, with the signatures of `threading`, that break instead of hanging.

- A lock belongs to who took it: a thread, a greenlet, a job of a cache, or a `task`. Only that releases it. If it ends
  while it holds the lock,
  everybody who waits, and everybody who comes later, gets `selvedge.BrokenResourceError` with the names of the lock
  and of its owner, and
  whoever knows the data calls ``repair()``.
- A wait that would close a ring of waits is refused with `selvedge.DeadlockError`, whose ``ring`` names all on the way
  round. So is taking a
  `Lock` twice.
- Waiting lets go of the GIL; on Python's main thread signals are handled meanwhile, so Ctrl-C ends a wait.
- The same objects can be awaited: ``selvedge.aio.Lock(lock)``, ``selvedge.trio.Lock(lock)``. All stand in one line. And
  ``Lock(face)`` here is the lock behind another face.
- In a child of `os.fork` a lock that another thread of the parent held raises `selvedge.ForkedError`; ``repair()``
  takes it.

Times are seconds. A thread's task is called what the thread is called at its first use of all this, cut to 15 bytes;
a `task` block can give it a longer name. A blocking wait in a greenlet stops all greenlets of its thread; what it could never get for that
reason is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from selvedge import _sync
from selvedge._errors import StaleTaskError
from selvedge._face_barrier import Arrival, BrokenBarrierError, SharedBarrier
from selvedge._faces import BarrierFace
from selvedge._sync import (
    BoundedSemaphore,
    CapacityLimiter,
    Channel,
    Condition,
    Event,
    Lock,
    ParkingLot,
    RLock,
    Semaphore,
    TaskReport,
    wait_graph,
)

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "CapacityLimiter",
    "Channel",
    "Condition",
    "Event",
    "Lock",
    "ParkingLot",
    "RLock",
    "Semaphore",
    "TaskReport",
    "current_task",
    "interrupt",
    "task",
    "wait_graph",
]


def current_task() -> int:
    """The number of the task that the caller acts for: its `task` block's, greenlet's, job's or thread's."""
    return _sync.task_current()


def interrupt(task: int) -> None:
    """Has the blocking wait of a task, or else its next one, end with `selvedge.CancelledError`. Any thread; does not
    block.

    Python's main thread is woken by signals instead. StaleTaskError if the task has ended.
    """
    _sync.task_interrupt(task)


class task:
    """``with task("order 17"):`` has a task of its own own what the block takes, on this thread (inside one: in this
    greenlet).

    The task ends with the block: what it still holds breaks. No ``await`` may be in it, for then other coroutines run
    with this task (RuntimeError, if their blocks overlap): `selvedge.aio` and `selvedge.trio` own by coroutine. ``number`` is what `interrupt` takes, and ``report``,
    after the block, what it had in hand.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name: str | None = name
        self.number: int = 0
        self.report: TaskReport | None = None
        self._previous: int = 0

    def __enter__(self) -> task:
        if self.number:
            raise RuntimeError("a task is for one block only")
        self.number = _sync.task_new(self.name)
        self._previous = _sync.task_enter(self.number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        overlaps = False
        try:
            _sync.task_leave(self._previous)
        except StaleTaskError:
            overlaps = True
            _sync.task_leave(0)
        self.report = _sync.task_exit(self.number)
        if overlaps and value is None:
            raise RuntimeError(
                "task blocks of one thread must nest, and the one around this has ended first: a block around an await "
                "is on the thread while other coroutines run"
            )


class Barrier(BarrierFace):
    """Lets ``parties`` threads, and tasks of any kind, go on when all have come.

    ``action`` is called by the last to come, before anybody goes on; if it raises, the barrier breaks. ``timeout`` is
    what `wait` takes if it is given none.
    In place of ``parties``, another face: then both are one barrier.
    """

    def __init__(
        self,
        parties: int | _sync.Face[SharedBarrier],
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        shared = getattr(parties, "native", None)
        if isinstance(shared, SharedBarrier):
            if action is not None or timeout is not None or name is not None:
                raise TypeError("action, timeout and name are for a new barrier: this is to be one that there is already")
        elif isinstance(parties, int):
            shared = SharedBarrier(parties, action, timeout, name=name)
        else:
            raise TypeError(f"expected a number of parties, or a barrier of selvedge, not {type(parties).__name__}")
        super().__init__(shared)

    def wait(self, timeout: float | None = None) -> int:
        """Waits until all have come; gives a number from 0 to ``parties - 1``, another one to each.

        `threading.BrokenBarrierError` if the barrier is or gets broken, by a wait that takes longer than ``timeout``
        seconds, by one that an exception ends
        (as Ctrl-C does), by `abort`, or by the action. Blocks.
        """
        shared = self._native
        arrival: Arrival | None = None
        try:
            arrival = shared.arrive()
            if not arrival.is_last and not arrival.go.wait(shared.timeout if timeout is None else timeout):
                shared.leave(arrival, breaks=True)
        except BaseException:
            if arrival is not None:
                shared.leave(arrival, breaks=True)
            raise
        return shared.check(arrival)

    def reset(self) -> None:
        """Makes it as new. Who waits gets BrokenBarrierError. Any thread; does not block."""
        self._native.reset()

    def abort(self) -> None:
        """Breaks it: who waits, and who comes before a `reset`, gets BrokenBarrierError. Any thread; does not block."""
        self._native.abort()

    def __repr__(self) -> str:
        name = f" {self._native.name!r}" if self._native.name else ""
        how = "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}"
        return f"<sync.Barrier{name} at {id(self):#x}: {how}>"
