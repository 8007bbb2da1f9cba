"""The calls of an executor: futures that know what they are to call, and when nobody needs to know any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, Protocol, TypeAlias, TypeVar

from selvedge._errors import CancelledError, ForkedError

_T = TypeVar("_T")

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
        self._has_callbacks = False

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        pool = self._pool
        if pool is not None and pool.withdraw(self):
            # What it refers to goes now, and who waits is told now, not when its turn would have come.
            self.begin()
        return True

    def add_done_callback(self, fn: Callable[[Future[_T]], object]) -> None:
        with self._condition:
            self._has_callbacks = True
        super().add_done_callback(fn)

    # ---- by who has taken it out of the line ----

    def begin(self) -> Work | None:
        """What is to be called; None if it was cancelled."""
        work, self._work, self._pool = self._work, None, None
        return work if self.set_running_or_notify_cancel() else None

    def run(self) -> None:
        """Calls it and keeps the outcome; tells it if there are callbacks."""
        work = self.begin()
        if work is None:
            return
        self._outcome = invoke(*work)
        del work
        if self._has_callbacks:
            self.tell(with_callbacks=True)
        del self  # see `invoke`

    def refuse(self, error: BaseException) -> None:
        """It will not run, because of this."""
        if isinstance(error, CancelledError):
            super().cancel()
        if self.begin() is not None:
            self._outcome = False, error
        self.tell(with_callbacks=True)

    def lose(self, error: BaseException) -> None:
        """The thread that ran it is lost."""
        if self._outcome is None:
            self._outcome = False, error

    def tell(self, *, with_callbacks: bool) -> bool:
        """Makes the outcome known, if that has not been done.

        False, and nothing is done, if callbacks are to be called and may not be.
        """
        with self._condition:
            outcome = self._outcome
            if outcome is None:
                return True  # told, cancelled, or the parent process's
            if self._has_callbacks and not with_callbacks:
                return False
            self._outcome = None
            if not self._has_callbacks:
                self._set(*outcome)
                return True
        self._set(*outcome)
        return True

    def _set(self, is_result: bool, value: Any) -> None:
        try:
            if is_result:
                self.set_result(value)
            else:
                self.set_exception(value)
        except InvalidStateError:
            pass  # somebody else has set it, which only executors may

    def strand(self) -> None:
        """In a fork child: who waited, who was to be called back, and who may have held the lock, are the parent's."""
        self._condition = threading.Condition()
        self._waiters = []
        self._done_callbacks = []
        self._has_callbacks = False
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
