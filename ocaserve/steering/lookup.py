"""Which route an address or a network has: longest match, and what lies around it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from bgp.prefixes import WIDTH, Prefix, format_prefix, parse_prefix
from ocaserve.steering.paths import Entry, Level, Path, paths_of
from ocaserve.steering.rib import RoutingTable


class Match(NamedTuple):
    """A prefix and its routes, best first; filtered ones stand last."""

    prefix: Prefix
    paths: Sequence[Path]

    @property
    def best(self) -> Path | None:
        return self.paths[0] if self.paths and self.paths[0].reason is None else None


def longest_match(table: RoutingTable, family: int, address: int) -> tuple[int, Path] | None:
    """Length and best path of the longest accepted prefix that holds the address."""
    for shift, level in table.search[family]:
        entry = level.get(address >> shift)
        if entry is not None:
            path = entry if entry.__class__ is Path else entry[0]  # type: ignore[index]
            if path.reason is None:
                return WIDTH[family] - shift, path
    return None


def covering(table: RoutingTable, prefix: Prefix) -> list[Match]:
    """Every prefix known that is `prefix` or covers it, longest first, filtered ones too."""
    found = []
    for shift, level in table.search[prefix.family]:
        length = WIDTH[prefix.family] - shift
        if length <= prefix.length:
            bits = prefix.bits >> (prefix.length - length)
            if entry := level.get(bits):
                found.append(Match(Prefix(prefix.family, length, bits), paths_of(entry)))
    return found


def best_cover(table: RoutingTable, prefix: Prefix) -> Match | None:
    """The longest accepted prefix that is `prefix` or covers it."""
    return next((match for match in covering(table, prefix) if match.best), None)


def more_specific(table: RoutingTable, prefix: Prefix) -> Iterator[Match]:
    """Every prefix known inside of `prefix`, shortest first. Another thread may walk on it."""
    for shift, level in reversed(table.search[prefix.family]):
        length = WIDTH[prefix.family] - shift
        if length > prefix.length:
            for bits in _inside(level, length - prefix.length, prefix.bits):
                if entry := level.get(bits):
                    yield Match(Prefix(prefix.family, length, bits), paths_of(entry))


def _inside(level: Level, more: int, outer: int) -> Iterator[int]:
    """Keys of a level whose leading bits are `outer`, `more` bits longer: by the cheaper way."""
    if more < 64 and 1 << more <= len(level):
        return (bits for bits in range(outer << more, (outer + 1) << more) if bits in level)
    return (bits for bits in list(level) if bits >> more == outer)


def list_accepted(snapshot: Iterable[tuple[int, int, Mapping[int, Entry]]]) -> list[str]:
    """The accepted prefixes of a snapshot."""
    return [
        format_prefix(family, length, bits)
        for family, length, level in snapshot
        for bits, entry in level.items()
        if paths_of(entry)[0].reason is None
    ]


UNROUTED = "unrouted"


def route_of(table: RoutingTable, network: str) -> str:
    """The longest accepted prefix that covers a network; a text that is none stays as it is."""
    try:
        prefix = parse_prefix(network)
    except ValueError:
        return network
    match = best_cover(table, prefix)
    return UNROUTED if match is None else str(match.prefix)
