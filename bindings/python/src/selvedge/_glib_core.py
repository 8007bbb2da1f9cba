"""What a `GreenletHub` is made of: greenlets of a main loop's thread, and how they give and get control."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Protocol

from selvedge import _loop, _sync
from selvedge._errors import ClosedResourceError, WrongThreadError
from selvedge._glib_gi import Greenlet, GreenletModule, new_timer, the_greenlet


def check_time(seconds: float | None, what: str) -> None:
    if seconds is None:
        return
    if not isinstance(seconds, float | int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{what} must be a number of seconds, not {type(seconds).__name__}")
    if not seconds >= 0:
        raise ValueError(f"{what} must be at least 0 seconds, not {seconds!r}")


class Core:
    """The greenlets of one thread and its loop.

    "In the hub" means: on that thread, called by the loop, in none of the greenlets.
    """

    def __init__(self, loop: _loop.HostLoop, context: Any) -> None:
        self.greenlets: GreenletModule = the_greenlet()
        self.loop: _loop.HostLoop = loop
        self.context: Any = context
        self.thread: int = threading.get_ident()
        self.strands: dict[Strand, None] = {}  # that have not ended
        self.running: Strand | None = None
        self.main: Greenlet = self.greenlets.getcurrent()  # which has switched to the one that runs
        self.is_closed: bool = False

    def current(self) -> Strand | None:
        """The one that runs on the calling thread."""
        return self.running if threading.get_ident() == self.thread else None

    def begin_wait(self) -> Wait:
        """A wait of the one that runs. Who is to end it is told of it before it gives control back."""
        strand = self.current()
        if strand is None:
            raise WrongThreadError("only in a greenlet that this hub has spawned")
        if self.is_closed:
            raise ClosedResourceError("the hub is closed")
        strand.wait = wait = Wait(strand, self.greenlets.getcurrent())
        return wait

    @contextlib.contextmanager
    def timer(self, seconds: float | None, fn: Callable[..., object], /, *args: Any) -> Generator[None]:
        """Inside it, ``fn(*args)`` is called in the hub after so many seconds. None: never."""
        if seconds is None or seconds == math.inf:
            yield
            return
        check_time(seconds, "timeout")
        source = new_timer(seconds, lambda: self.loop.call_soon(fn, *args), self.context)
        try:
            yield
        finally:
            source.destroy()


class Owner(Protocol):
    """What a greenlet is for."""

    def body(self) -> None:
        """Its function, which raises nothing."""
        ...

    def ended(self) -> None:
        """Called in the hub when it is dead."""
        ...

    def cancel(self) -> object:
        """Called in the hub when it is killed before it began."""
        ...


class Strand:
    """A greenlet of the hub, with those that its function may make under it."""

    def __init__(self, core: Core, name: str, owner: Owner) -> None:
        self.core: Core = core
        self.name: str = name
        self.owner: Owner | None = owner  # until it has ended
        self.root: Greenlet | None = None  # while it lives
        self.number: int = 0  # its task
        self.wait: Wait | None = None  # its last one
        self.is_receiving: bool = False  # which is one that `resume` ends
        self.given: deque[Any] = deque()  # by `resume`, and not received yet

    def begin(self) -> None:
        """In the hub."""
        self.root = self.core.greenlets.greenlet(self._run, self.core.greenlets.getcurrent())
        self.switch_to(self.root)

    def _run(self, _: None) -> None:
        self.number = _sync.task_new(self.name)
        previous = _sync.task_enter(self.number)
        try:
            assert self.owner is not None
            self.owner.body()
        finally:
            _sync.task_leave(previous)
            _sync.task_exit(self.number)

    def forget(self) -> Owner | None:
        """It has ended, or will not begin. Whose it was."""
        self.core.strands.pop(self, None)
        owner, self.owner = self.owner, None
        return owner

    def switch_to(self, greenlet: Greenlet, value: Any = None, *, error: BaseException | None = None) -> None:
        """In the hub: lets it go on in one of its greenlets, until it gives control back or ends."""
        core, root = self.core, self.root
        assert root is not None
        core.main = core.greenlets.getcurrent()
        if root.parent is not core.main:
            root.parent = core.main
        core.running = self
        try:
            if error is None:
                greenlet.switch(value)
            else:
                greenlet.throw(error)
        finally:
            core.running = None
        if root.dead:
            self.root = None
            owner = self.forget()
            if owner is not None:
                owner.ended()

    def receive(self) -> Any:
        """In it: waits for the next `resume`, and returns what that gives."""
        wait = self.core.begin_wait()
        if self.given:
            self.core.loop.call_soon(wait.wake, self.given.popleft())
            return wait.give_control()
        self.is_receiving = True
        try:
            return wait.give_control()
        finally:
            self.is_receiving = False

    def resume(self, value: Any) -> None:
        """In the hub."""
        if self.is_receiving and self.wait is not None:
            self.is_receiving = False
            self.wait.wake(value)
        else:
            self.given.append(value)

    def kill(self, error: BaseException) -> None:
        """In the hub, when it has not ended."""
        if self.root is None:
            owner = self.forget()
            if owner is not None:
                owner.cancel()
        elif self.wait is not None and self.wait.is_given:
            self.switch_to(self.wait.greenlet, error=error)
        else:  # it has switched to a greenlet of somebody else's
            self.switch_to(self.root, error=error)


class Wait:
    """One time that a greenlet gives control back. Who comes first ends it; the others come in vain."""

    def __init__(self, strand: Strand, greenlet: Greenlet) -> None:
        self.strand: Strand = strand
        self.greenlet: Greenlet = greenlet
        self.is_given: bool = False

    def give_control(self) -> Any:
        """In the greenlet."""
        self.is_given = True
        try:
            return self.strand.core.main.switch()
        finally:
            self.is_given = False

    def wake(self, value: Any = None) -> None:
        """In the hub."""
        if self.is_given:
            self.strand.switch_to(self.greenlet, value)
