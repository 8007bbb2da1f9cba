"""Queues into event loops of Python: see `HostLoop`."""

from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from typing_extensions import Self, TypeVarTuple, Unpack

from selvedge._worker import HostLoopStats

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

class HostLoop:
    """A queue into an event loop. Any thread puts callables in; the loop's own thread, which is the one that makes it
    until `bind` says otherwise, polls `fd` and calls `drain`.

    name: what it is called in messages.
    on_error: called on the loop's thread with the exception of a `call_soon` callable; None: sys.unraisablehook.

    The loop is closed with `close`, with the end of a ``with`` block, or when the object goes. Every method raises
    ForkedError in a child made by fork.
    """

    def __init__(
        self, name: str | None = None, *, on_error: Callable[[BaseException], object] | None = None
    ) -> None: ...
    @property
    def fd(self) -> int:
        """The descriptor that is readable while something waits. To be polled only, neither read nor closed; valid as
        long as the object.
        """

    @property
    def address(self) -> int:
        """The address of the ``selv_host_loop``, for C code and for the ``_async`` functions of `_sync`."""

    @property
    def name(self) -> str | None:
        """What the loop is called in messages."""

    @property
    def closed(self) -> bool:
        """Whether it is closed."""

    def drain(self, max: int = 0) -> int:
        """Runs what is queued now, in order, at most ``max`` of it (0: all), and returns how many have run.

        What these callables queue is for a later drain. Does not wait. On the loop's own thread only.

        An exception of a callable goes to ``on_error``, or to sys.unraisablehook, and the next one runs; but a
        KeyboardInterrupt or SystemExit is raised here when the pass is over.

        Raises WrongThreadError; ReentrantError inside a drain of this loop; ClosedResourceError; ForkedError.
        """

    def call_soon(
        self,
        fn: Callable[[Unpack[_Ts]], object],
        /,
        *args: Unpack[_Ts],
        idempotent: bool = False,
        drop: Callable[[], object] | None = None,
    ) -> None:
        """Has the loop run ``fn(*args)`` on its own thread, in a drain to come, in the order of the calls. From any
        thread; does not wait.

        idempotent: while an equal call (same fn and args, compared with ==; both hashable) waits, this one stands for
        both.
        drop: called with no arguments instead, where the loop is closed, if that happens first.

        Raises ClosedResourceError, ForkedError.
        """

    def call(self, fn: Callable[[Unpack[_Ts]], _T], /, *args: Unpack[_Ts], timeout: float | None = None) -> _T:
        """Has the loop run ``fn(*args)`` on its own thread, and returns what that returns, or raises what it raises.

        timeout: seconds until it begins, None for ever; once begun it is waited for, however long. Blocks the calling
        thread, without the GIL; a signal handler that raises (Ctrl-C) ends the wait, and a call that has not begun
        never runs then.

        Raises TimedOutError; DeadlockError on the loop's own thread; ClosedResourceError if the loop is closed first;
        ForkedError.
        """

    def bind(self) -> None:
        """Makes the calling thread the loop's: from now on it drains and closes. At first that is the one that made it.

        Raises BusyResourceError while another thread drains, ReentrantError inside a drain, ClosedResourceError,
        ForkedError.
        """

    def close(self) -> None:
        """Closes the loop: nothing is accepted any more, and what waits is dropped here. On the loop's own thread. May
        be repeated.

        Raises WrongThreadError, BusyResourceError while a guest lives in it, ForkedError.
        """

    def stats(self) -> HostLoopStats:
        """How the loop stands. From any thread."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
