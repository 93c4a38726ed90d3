"""Judging sources: who is asked first, and who is left alone for how long."""

from __future__ import annotations

from ocaserve.fill.manifest import Source
from ocaserve.fill.sources import SourceBook
from ocaserve.origins import FIRST_DROP_S, LONGEST_DROP_S, Fault

PEER = Source(tier="peer", url="http://oca-2:8080/a")
TIER = Source(tier="tier", url="https://tier.example.net/a")
ORIGIN = Source(tier="origin", url="https://origin.example.net/a?x=1")
ALL = [ORIGIN, TIER, PEER]


def test_near_ones_first() -> None:
    book = SourceBook()
    assert book.choose(ALL, "origin", 0.0) == [PEER, TIER, ORIGIN]
    assert book.choose(ALL, "peer", 0.0) == [PEER]
    assert book.choose(ALL, "tier", 0.0) == [PEER, TIER]


def test_struck_for_longer_each_time() -> None:
    """And by origin: another URL of it is left alone as well."""
    book = SourceBook()
    now, pauses = 0.0, []
    for _ in range(10):
        book.strike(PEER.url, Fault.DIGEST, "piece 3", now)
        assert book.is_dropped("http://oca-2:8080/other", now)
        back = book.next_return([PEER], now)
        assert back is not None
        pauses.append(back - now)
        now = back
    assert pauses[:3] == [FIRST_DROP_S, 2 * FIRST_DROP_S, 4 * FIRST_DROP_S]
    assert pauses[-1] == LONGEST_DROP_S
    assert book.faults["http://oca-2:8080", Fault.DIGEST] == 10
    book.praise(PEER.url)
    assert not book.is_dropped(PEER.url, 0.0)


def test_why_is_told() -> None:
    book = SourceBook()
    book.strike(ORIGIN.url, Fault.SLOW, "7 bytes/s", 100.0)
    [(origin, record)] = book.dropped(101.0)
    assert (origin, record.last) == ("https://origin.example.net:443", "slow: 7 bytes/s")
    assert book.next_return(ALL, 101.0) == 100.0 + FIRST_DROP_S
    assert list(book.dropped(200.0)) == []
