"""The calls of an executor: futures that know what they are to call, and when nobody needs to know any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures._base import PENDING, RUNNING
from typing import Any, Protocol, TypeAlias, TypeVar

from selvedge._cache import Parker
from selvedge._errors import CancelledError, ForkedError

_T = TypeVar("_T")

_OPEN = frozenset((PENDING, RUNNING))

Work: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Line(Protocol):
    """Where a call waits for its turn."""

    def withdraw(self, call: Call[Any]) -> bool:
        """Takes it out of the line. False if it was not there any more."""
        ...


class Call(Future[_T]):
    """A call and its future. Held by the line, by the slot that runs it, and by the caller."""

    # Of Future itself, whose annotations leave them out.
    _done_callbacks: list[Callable[[Future[_T]], object]]

    def __init__(self, pool: Line, work: Work) -> None:
        super().__init__()
        self._pool: Line | None = pool
        self._work: Work | None = work
        self._outcome: tuple[bool, Any] | None = None
        self._calls_back = True
        self._parkers: list[Parker] = []

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        pool = self._pool
        if pool is not None and pool.withdraw(self):
            # What it refers to goes now, and who waits is told now, not when its turn would have come.
            self.begin()
        return True

    def _invoke_callbacks(self) -> None:
        # It has just become done. Callbacks may wait for whoever is parked.
        if self._parkers:
            for parker in list(self._parkers):
                parker.unpark(self._calls_back)
        if self._calls_back:
            super()._invoke_callbacks()  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue] # private

    # ---- by who waits ----

    def result(self, timeout: float | None = None) -> _T:
        try:
            return super().result(self._park(timeout))
        finally:
            del self  # see `invoke`

    def exception(self, timeout: float | None = None) -> BaseException | None:
        try:
            return super().exception(self._park(timeout))
        finally:
            del self

    def _park(self, timeout: float | None) -> float | None:
        """Waits until it is done, at most for that time, and returns how long `Future` is to wait.

        Who waits in `Future` is woken by a thread that has the GIL, and sleeps again until it can have that: hence the
        `Parker`.
        """
        if self._state not in _OPEN or (timeout is not None and timeout <= 0):
            return timeout
        parker = Parker()
        # First where it is looked for, and then a look: who makes it done does the one after the other, too.
        self._parkers.append(parker)
        try:
            if self._state in _OPEN:
                parker.park(timeout)
        finally:
            self._parkers.remove(parker)
        return 0

    # ---- by who has taken it out of the line ----

    def begin(self) -> Work | None:
        """What is to be called; None if it was cancelled."""
        work, self._work, self._pool = self._work, None, None
        return work if self.set_running_or_notify_cancel() else None

    def run(self) -> None:
        """Calls it and keeps the outcome; tells it at once if there are callbacks."""
        work = self.begin()
        if work is None:
            return
        self._outcome = invoke(*work)
        del work
        if self._done_callbacks:
            self.tell()
        del self  # see `invoke`

    def refuse(self, error: BaseException) -> None:
        """It will not run, because of this."""
        if isinstance(error, CancelledError):
            super().cancel()
        if self.begin() is not None:
            self._outcome = False, error
        self.tell()

    def lose(self, error: BaseException) -> None:
        """The thread that ran it is lost."""
        if self._outcome is None:
            self._outcome = False, error

    def tell(self) -> None:
        """Makes the outcome known, if that has not been done and it is not cancelled or the parent process's."""
        outcome, self._outcome = self._outcome, None
        if outcome is None:
            return
        is_result, value = outcome
        try:
            if is_result:
                self.set_result(value)
            else:
                self.set_exception(value)
        except InvalidStateError:
            self._calls_back = True  # somebody else has set it, which only executors may, and has called back

    def tell_without_callbacks(self) -> bool:
        """`tell`, where no callbacks may be called. False if there are some, which `call_back` is to call."""
        if self._outcome is None:
            return True
        self._calls_back = False
        self.tell()
        # Done now: who comes from here on is called back by `add_done_callback` itself.
        return self._calls_back or not self._done_callbacks

    def call_back(self) -> None:
        self._calls_back = True
        self._invoke_callbacks()

    def strand(self) -> None:
        """In a fork child: who waited, who was to be called back, and who may have held the lock, are the parent's."""
        self._condition = threading.Condition()
        self._waiters = []
        self._done_callbacks = []
        self._work = self._pool = self._outcome = None
        if not self.done():
            self.set_exception(ForkedError("the call was submitted in the parent process, and runs only there"))


def invoke(fn: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
    """Whether it returned, and what it returned or raised.

    The traceback holds this frame and those that called it, and they must not hold anything when they have returned.
    """
    try:
        return True, fn(*args, **kwargs)
    except BaseException as error:
        return False, error
    finally:
        del fn, args, kwargs
