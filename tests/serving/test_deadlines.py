"""The deadline wheel: what is due expires, what moved is looked at again."""

from __future__ import annotations

from math import inf

from ocaserve.serving.deadlines import DeadlineWheel


class Item:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.watched = inf
        self.expired: list[float] = []
        self.defects: list[Exception] = []

    def expire(self, now: float) -> None:
        self.expired.append(now)

    def contain(self, defect: Exception, /) -> None:
        self.defects.append(defect)


class Failing(Item):
    def expire(self, now: float) -> None:
        raise ValueError(now)


def watched(wheel: DeadlineWheel, deadline: float) -> Item:
    item = Item(deadline)
    wheel.watch(item)
    return item


def test_due_item_expires_once() -> None:
    wheel = DeadlineWheel()
    item = watched(wheel, 10.0)
    wheel.sweep(10.3)
    wheel.sweep(20.0)
    assert item.expired == [10.3]


def test_item_does_not_expire_early() -> None:
    wheel = DeadlineWheel()
    item = watched(wheel, 10.0)
    wheel.sweep(9.99)
    assert item.expired == []


def test_item_that_moved_later_is_looked_at_again() -> None:
    wheel = DeadlineWheel()
    item = watched(wheel, 10.0)
    item.deadline = 15.0
    wheel.sweep(11.0)
    assert item.expired == []
    wheel.sweep(15.5)
    assert item.expired == [15.5]


def test_item_that_moved_earlier_expires_at_the_earlier_time() -> None:
    wheel = DeadlineWheel()
    item = watched(wheel, 60.0)
    item.deadline = 5.0
    wheel.watch(item)
    wheel.sweep(5.3)
    assert item.expired == [5.3]


def test_forgotten_item_never_expires() -> None:
    wheel = DeadlineWheel()
    item = watched(wheel, 10.0)
    wheel.forget(item)
    wheel.sweep(100.0)
    assert item.expired == []
    assert item.watched == inf


def test_item_that_fails_takes_none_of_its_bucket_along() -> None:
    wheel = DeadlineWheel()
    failing = [Failing(10.0) for _ in range(5)]
    items = [Item(10.0) for _ in range(5)]
    for item in (*failing, *items):
        wheel.watch(item)
    wheel.sweep(10.3)
    assert [item.expired for item in items] == [[10.3]] * 5
    assert [len(item.defects) for item in failing] == [1] * 5
