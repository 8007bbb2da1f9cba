"""CPython's own tests of `threading`'s primitives, `test.lock_tests`, run against `selvedge.sync`.

What does not hold for a lock that belongs to its owner is in one table, and is shown to differ in the way that the
table says.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
import unittest
from typing import Any, NamedTuple

import pytest

from selvedge import DeadlockError, NotOwnerError, sync

# The constructor that each of CPython's classes asks for, and what it gets.
SUITES: dict[str, tuple[str, Any]] = {
    "LockTests": ("locktype", sync.Lock),
    "RLockTests": ("locktype", sync.RLock),
    "EventTests": ("eventtype", sync.Event),
    "ConditionTests": ("condtype", sync.Condition),
    "SemaphoreTests": ("semtype", sync.Semaphore),
    "BoundedSemaphoreTests": ("semtype", sync.BoundedSemaphore),
    "BarrierTests": ("barriertype", sync.Barrier),
}


class Difference(NamedTuple):
    suite: str
    test: str
    why: str
    raises: type[BaseException]  # in one of the test's threads
    text: str  # that its message has


DIFFERENCES = [
    Difference(
        "LockTests",
        "test_reacquire",
        "a thread that takes its own Lock again is refused, instead of waiting for another thread to release it",
        DeadlockError,
        "would wait for lock",
    ),
    Difference(
        "LockTests",
        "test_different_thread",
        "a Lock has an owner: a thread cannot release what another one took",
        NotOwnerError,
        "cannot release a lock that it does not hold",
    ),
    Difference(
        "LockTests",
        "test_state_after_timeout",
        "the owner's own acquire with a timeout is refused at once, instead of waiting for its time to pass",
        DeadlockError,
        "would wait for lock",
    ),
    Difference(
        "EventTests",
        "test_at_fork_reinit",
        "it reaches into threading.Event for the private condition that it is made of; ours is made of none",
        AttributeError,
        "_cond",
    ),
    Difference(
        "ConditionTests",
        "test_acquire",
        "it makes a Condition on a threading.Lock, whose owner nobody knows; ours takes our locks",
        TypeError,
        "expected a lock of selvedge",
    ),
]

lock_tests: Any = None
if importlib.util.find_spec("test.lock_tests") is not None:
    from test import lock_tests


def case(suite: str, left_out: list[str]) -> type[unittest.TestCase]:
    attribute, constructor = SUITES[suite]
    body: dict[str, Any] = {name: None for name in left_out}
    body[attribute] = staticmethod(constructor)
    return type(suite, (getattr(lock_tests, suite), unittest.TestCase), body)


# One class each for pytest to find, without what differs.
if lock_tests is not None:
    for name in SUITES:
        globals()[f"Test{name}"] = case(name, [d.test for d in DIFFERENCES if d.suite == name])
    del name


class Raised:
    """Collects what the threads of a test raise, wherever it ends up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.all: list[BaseException] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: self.add(unraisable.exc_value))
        monkeypatch.setattr(threading, "excepthook", lambda args: self.add(args.exc_value))

    def add(self, error: BaseException | None) -> None:
        if error is not None:
            self.all.append(error)
            for inner in getattr(error, "exceptions", ()):
                self.add(inner)


class Result(unittest.TestResult):
    def __init__(self, raised: Raised) -> None:
        super().__init__()
        self.raised = raised

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self.raised.add(err[1])
        super().addError(test, err)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.raised.add(err[1])
        super().addFailure(test, err)


def test_python_has_lock_tests_or_lacks_all_of_its_tests() -> None:
    """Where Python comes without its tests (a distribution's package), this file is not applicable."""
    if lock_tests is None:
        assert importlib.util.find_spec("test.test_threading") is None
    else:
        missing = [name for name in SUITES if not hasattr(lock_tests, name)]
        assert missing == []


@pytest.mark.parametrize(
    "difference", DIFFERENCES if lock_tests is not None else [], ids=lambda d: f"{d.suite}-{d.test}"
)
def test_differs_as_the_table_says(difference: Difference, monkeypatch: pytest.MonkeyPatch) -> None:
    raised = Raised(monkeypatch)
    result = Result(raised)
    case(difference.suite, [])(difference.test).run(result)
    assert not result.wasSuccessful(), "this difference is none any more: take it out of the table"
    expected = [error for error in raised.all if isinstance(error, difference.raises)]
    assert expected, raised.all
    assert any(difference.text in str(error) for error in expected), expected
