"""The exceptions of Selvedge, one for each thing that one can do something about."""

from __future__ import annotations

import re

__all__ = [
    "BrokenResourceError",
    "BusyResourceError",
    "CancelledError",
    "ClosedResourceError",
    "DeadlockError",
    "DuplicateError",
    "ForkedError",
    "HookFailedError",
    "LimitError",
    "NotOwnerError",
    "NotRecoverableError",
    "ReentrantError",
    "SelvedgeError",
    "SpawnError",
    "StaleTaskError",
    "TimedOutError",
    "TooLateError",
    "UnsupportedError",
    "WouldBlock",
    "WrongThreadError",
]


class SelvedgeError(Exception):
    """What every exception of this package is.

    ``status`` is the number that the C library gave (``SELV_E_...`` in its header), 0 if none did.
    """

    status: int = 0


class ClosedResourceError(SelvedgeError):
    """The cache is shut down, the object closed, or the hook unregistered."""

    status = -12


class BrokenResourceError(SelvedgeError):
    """The owner ended while it held the lock, or a runtime ended the thread of the job. The text names which."""

    status = -8


class NotRecoverableError(BrokenResourceError):
    """What a robust lock protected was given up: its owner died, and the next one released it without make_consistent."""

    status = -22


class DeadlockError(SelvedgeError, RuntimeError):
    """The call would wait for itself.

    ``ring`` names who and what is on the way round: the calling task, what it would wait for, that one's owner, and so on; what has no name
    by its kind and number. Empty if the call waits for itself without others, such as a worker for its own cache's end.
    """

    status = -9
    ring: tuple[str, ...] = ()


class NotOwnerError(SelvedgeError, RuntimeError):
    """Only the owner of a lock, a token or a condition's lock may do this."""

    status = -10


class BusyResourceError(SelvedgeError):
    """The object is in use: held, or waited for."""

    status = -13


class WouldBlock(SelvedgeError):
    """It could be had only by waiting, and the call does not wait."""

    status = -6


class TimedOutError(SelvedgeError, TimeoutError):
    """The time was over."""

    status = -5


class CancelledError(SelvedgeError):
    """The job or the operation was cancelled before it began."""

    status = -7


class HookFailedError(SelvedgeError):
    """A hook that the job needs failed on its worker, or was unregistered before the job began.

    ``code`` is the hook's own number: -16 for a Python function that raised, which is the ``__cause__`` then; -12 if the hook was unregistered.
    """

    status = -16
    code: int = 0


class ForkedError(SelvedgeError):
    """The object belongs to the parent process, and this is a child made by fork."""

    status = -20


class SpawnError(SelvedgeError, RuntimeError):
    """No thread could be started."""

    status = -4


class WrongThreadError(SelvedgeError, RuntimeError):
    """The call belongs on another thread."""

    status = -19


class ReentrantError(SelvedgeError, RuntimeError):
    """The call is not allowed inside this callback."""

    status = -18


class StaleTaskError(SelvedgeError):
    """The task has ended."""

    status = -11


class UnsupportedError(SelvedgeError, NotImplementedError):
    """This cannot work here: in this interpreter, with this version of Python, or in this combination."""

    status = -21


class TooLateError(SelvedgeError):
    """What was to be prevented has begun or happened already."""

    status = -23


class DuplicateError(SelvedgeError, RuntimeError):
    """The borrower has a token of this limiter already, or waits for one."""

    status = -15


class LimitError(SelvedgeError, ValueError):
    """A counter would pass its bound: a semaphore was released more often than it was acquired."""

    status = -14


_KINDS: list[type[SelvedgeError]] = [*SelvedgeError.__subclasses__(), NotRecoverableError]
_BY_STATUS = {kind.status: kind for kind in _KINDS}

# Statuses that have an exception of Python's own.
_BUILT_IN: dict[int, type[Exception]] = {-1: ValueError, -2: ValueError, -3: MemoryError, -24: OSError}

_RING = re.compile(r" would wait for |, held by |, which waits for ")
_NAME = re.compile(r"'(.*)'$")


def _ring(text: str) -> tuple[str, ...]:
    """From "task 'a' would wait for lock 'L', held by task 'b', which waits for lock 'M', held by task 'a'"."""
    members = _RING.split(text.partition("; ")[0])
    if len(members) < 3:
        return ()
    named = (_NAME.search(member) for member in members)
    names = [found[1] if found else member for found, member in zip(named, members, strict=True)]
    return tuple(names[:-1] if members[-1] == members[0] else names)


# What the library's sentences call by its C name.
_C_NAMES = {
    "it is not SELV_LOCK_RECURSIVE": "an RLock can be taken twice",
    "selv_cache_trim lets": "trim() lets",
    "by selv_job_cancel ": "",
    "SELV_HOOK_LAZY": "lazy",
    "SELV_HOOK_EAGER": "eager",
    "SELV_HOOK_RETIRE": "retire",
    "SELV_LOCK_ROBUST": "robust",
    "consistent: it was not acquired with SELV_OWNER_DIED": "consistent: its last owner did not die",
    "acquired with SELV_OWNER_DIED": "acquired after its owner's death",
    "selv_host_loop_bind makes": "bind() makes",
}
_C_NAME = re.compile("|".join(map(re.escape, _C_NAMES)))


def error(status: int, text: str) -> Exception:
    """Makes the exception for a status of the C library. ``text`` is what the library had to say."""
    text = _C_NAME.sub(lambda found: _C_NAMES[found[0]], text)
    if status in _BUILT_IN:
        return _BUILT_IN[status](text)
    made = _BY_STATUS.get(status, SelvedgeError)(text)
    made.status = status
    if isinstance(made, DeadlockError):
        made.ring = _ring(text)
    return made


def hook_failed(code: int, text: str) -> HookFailedError:
    """The exception for a job that a hook kept from running."""
    made = HookFailedError(text)
    made.code = code
    return made


# Where users find them.
for _kind in (SelvedgeError, *_KINDS):
    _kind.__module__ = "selvedge"
