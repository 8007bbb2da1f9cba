"""`selvedge.sync.Channel` between threads."""

from __future__ import annotations

import collections
import pickle
from typing import Any

import pytest
from conftest import Thread, wait_until_waiting

import selvedge
from selvedge import sync


def test_objects_come_out_as_they_went_in_and_in_order() -> None:
    channel = sync.Channel()
    items = [None, 1, "text", b"bytes", [1, {"a": (2, 3)}], {4, 5}, 10**100, 1.5, ValueError("x")]
    for item in items:
        channel.send(item)
    assert len(channel) == len(items)
    received = [channel.recv() for _ in items]
    assert received[:-1] == items[:-1] and repr(received[-1]) == repr(items[-1])
    assert received[4] is not items[4]
    assert channel.capacity is None


def test_bytes_go_as_they_are() -> None:
    channel = sync.Channel()
    for data in (b"", b"\0\xff", bytearray(b"ab"), memoryview(b"abc")[1:], bytes(10_000_000)):
        channel.send_bytes(data)
        assert channel.recv_bytes() == bytes(data)
    channel.send_bytes_nowait(pickle.dumps("mixed"))
    assert channel.recv() == "mixed"
    channel.send(5)
    assert pickle.loads(channel.recv_bytes_nowait()) == 5
    with pytest.raises(TypeError):
        channel.send_bytes("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        channel.send_bytes()  # type: ignore[call-arg]


def test_what_cannot_be_pickled_is_not_sent() -> None:
    channel = sync.Channel()
    with pytest.raises((pickle.PicklingError, TypeError, AttributeError)):
        channel.send(lambda: None)
    assert len(channel) == 0 and bool(channel)
    channel.send_bytes(b"no pickle")
    with pytest.raises(pickle.UnpicklingError):
        channel.recv()


def test_bounded() -> None:
    channel = sync.Channel(2)
    assert channel.capacity == 2
    channel.send(1), channel.send_nowait(2)
    with pytest.raises(selvedge.WouldBlock):
        channel.send_nowait(3)
    with pytest.raises(selvedge.TimedOutError) as caught:
        channel.send(3, timeout=0.01)
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(selvedge.TimedOutError):
        channel.send(3, 0)
    sender = Thread(lambda: channel.send(3))
    wait_until_waiting(channel, 1, "senders_waiting")
    assert [channel.recv(), channel.recv(), channel.recv()] == [1, 2, 3]
    assert sender.result() is None
    with pytest.raises(selvedge.WouldBlock):
        channel.recv_nowait()
    for limit in (0, 0.01):
        with pytest.raises(selvedge.TimedOutError):
            channel.recv(limit)


def test_rendezvous() -> None:
    channel = sync.Channel(0)
    assert channel.capacity == 0
    with pytest.raises(selvedge.WouldBlock):
        channel.send_nowait(1)
    sender = Thread(lambda: channel.send("hand to hand"))
    wait_until_waiting(channel, 1, "senders_waiting")
    assert len(channel) == 0
    assert channel.recv() == "hand to hand"
    assert sender.result() is None


def test_close_and_iteration() -> None:
    channel = sync.Channel(name="line")
    reader = Thread(lambda: list(channel))
    wait_until_waiting(channel, 1, "receivers_waiting")
    for number in range(10):
        channel.send(number)
    channel.close()
    assert reader.result() == list(range(10))
    with pytest.raises(selvedge.ClosedResourceError, match="line"):
        channel.send(1)
    with pytest.raises(selvedge.ClosedResourceError):
        channel.recv()
    full = sync.Channel(1)
    full.send("left")
    sender = Thread(lambda: full.send("unsent"))
    wait_until_waiting(full, 1, "senders_waiting")
    full.close()
    with pytest.raises(selvedge.ClosedResourceError):
        raise sender.result()
    assert list(full) == ["left"]


def cannot_be_unpickled() -> None:
    raise ValueError("unpickling")


class Unpickled:
    def __reduce__(self) -> Any:
        return cannot_be_unpickled, ()


def test_an_iteration_ends_with_the_channel_and_by_nothing_else() -> None:
    channel = sync.Channel()
    channel.send(1)
    channel.send(Unpickled())
    channel.send(2)
    iterator = iter(channel)
    assert next(iterator) == 1
    with pytest.raises(ValueError, match="unpickling"):
        next(iterator)
    assert next(iterator) == 2

    def interrupted() -> None:
        sync.interrupt(sync.current_task())
        for _ in channel:
            pass

    with pytest.raises(selvedge.CancelledError):
        raise Thread(interrupted).result()
    channel.close()
    assert list(iterator) == []


def test_wrong_arguments() -> None:
    for wrong, error in [(-1, ValueError), (1.5, TypeError), ("2", TypeError)]:
        with pytest.raises(error):
            sync.Channel(wrong)
    channel = sync.Channel()
    for limit, error in [(-1, ValueError), ("1", TypeError), (float("nan"), ValueError)]:
        with pytest.raises(error):
            channel.recv(timeout=limit)
    channel.send(1, timeout=None)
    assert channel.recv(timeout=float("inf")) == 1


def test_interrupt_of_a_receiver_loses_nothing() -> None:
    channel = sync.Channel()
    tasks: list[int] = []
    receiver = Thread(lambda: (tasks.append(sync.current_task()), channel.recv()))
    wait_until_waiting(channel, 1, "receivers_waiting")
    sync.interrupt(tasks[0])
    with pytest.raises(selvedge.CancelledError):
        raise receiver.result()
    channel.send("kept")
    assert channel.recv() == "kept"


@pytest.mark.parametrize("capacity", [None, 0, 1, 7])
def test_many_senders_and_receivers(capacity: int | None) -> None:
    """Each item comes out once, and each sender's in the order in which it sent them."""
    channel = sync.Channel(capacity)
    each, number = 400, 4

    def send(sender: int) -> None:
        for item in range(each):
            channel.send((sender, item))

    receivers = [Thread(lambda: list(channel)) for _ in range(number)]
    senders = [Thread(lambda sender=sender: send(sender)) for sender in range(number)]
    for sender in senders:
        assert sender.result() is None
    channel.close()
    received = [receiver.result() for receiver in receivers]
    for items in received:
        for sender in range(number):
            own = [item for by, item in items if by == sender]
            assert own == sorted(own)
    counted = collections.Counter(item for items in received for item in items)
    assert counted == {(sender, item): 1 for sender in range(number) for item in range(each)}
    stats = channel.stats()
    assert stats["sent"] == stats["received"] == each * number
