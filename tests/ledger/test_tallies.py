"""What a worker counts, and under which network."""

from __future__ import annotations

import pytest

from ocaserve.ledger.networks import Networks
from ocaserve.ledger.tallies import Tallies


@pytest.mark.parametrize(
    ("address", "network"),
    [
        (b"203.0.113.77", "203.0.113.0/24"),
        (b"2001:db8:1:2::3", "2001:db8:1::/48"),
        (b"fe80::1%eth0", "fe80::/48"),
        (b"unix", "local"),
        (b"", "local"),
    ],
)
def test_network(address: bytes, network: str) -> None:
    assert Networks(24, 48).name_of(address) == network


def test_other_prefixes() -> None:
    networks = Networks(20, 32)
    assert networks.name_of(b"203.0.113.77") == "203.0.112.0/20"
    assert networks.name_of(b"2001:db8:1:2::3") == "2001:db8::/32"


def test_neighbours_share_a_tally() -> None:
    tallies = Tallies(Networks(24, 48), 10)
    first, second = tallies.open(b"192.0.2.1"), tallies.open(b"192.0.2.2")
    assert first is second
    first.sent += 5
    assert tallies.take() == {"192.0.2.0/24": 5}
    assert tallies.take() == {}


def test_a_tally_lives_as_long_as_it_is_needed() -> None:
    """What was added before the last connection closed is taken; then the tally goes."""
    tallies = Tallies(Networks(24, 48), 10)
    tally = tallies.open(b"192.0.2.1")
    tallies.take()
    tally.sent += 7
    tallies.close(tally)
    assert tallies.take() == {"192.0.2.0/24": 7}
    assert len(tallies) == 2
    assert tallies.take() == {}
    assert len(tallies) == 1


def test_flood_of_networks() -> None:
    """Who has a connection has a tally; of those that went, who got most. No byte is lost."""
    tallies = Tallies(Networks(24, 48), 3)
    staying = tallies.open(b"192.0.2.1")
    for n in range(1_000):
        tally = tallies.open(f"10.{n >> 8}.{n & 255}.1".encode())
        tally.sent += 50 if n == 7 else 1
        tallies.close(tally)
        assert len(tallies) <= 3 * 3 + 2
    staying.sent += 1
    taken = tallies.take()
    assert (taken["192.0.2.0/24"], taken["10.0.7.0/24"]) == (1, 50)
    assert sum(taken.values()) == 1_050
    tallies.put_back(taken)
    assert sum(tallies.take().values()) == 1_050


def test_nothing_is_told_apart_without_a_ledger() -> None:
    tallies = Tallies(Networks(24, 48), 0)
    for n in range(100):
        tallies.open(f"10.0.{n}.1".encode()).sent += 1
    assert tallies.take() == {"other": 100}
    assert len(tallies) == 1


def test_put_back() -> None:
    """What could not be told is told next time, also of networks that have gone."""
    tallies = Tallies(Networks(24, 48), 3)
    tally = tallies.open(b"192.0.2.1")
    tally.sent += 1
    tallies.close(tally)
    taken = tallies.take()
    tallies.take()
    tallies.put_back(taken)
    tallies.open(b"192.0.2.9").sent += 1
    assert tallies.take() == {"192.0.2.0/24": 2}
