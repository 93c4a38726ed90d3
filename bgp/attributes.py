"""The path attributes of a message, however it was told, and what decisions are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MOST_PATH_SHOWN = (
    64  # AS numbers of a path that are kept to be shown; longer ones keep their length
)

NO_NEXT_HOPS = ("", "0.0.0.0", "::")  # noqa: S104 - next hops, not addresses to listen on
OUR_OWN = -1
"""The origin of a path that is empty, or ends in a confederation: the AS of who hears it."""


class Attributes(NamedTuple):
    """`values`: as they are reported, by name. The rest is what decisions are made from."""

    values: Mapping[str, Any]
    path_length: int  # RFC 4271 section 9.1.2.2: a set counts one; RFC 5065: confederations none
    path: frozenset[int]
    origin_as: int | None  # RFC 6811 section 2: None where the path ends in a set, else OUR_OWN
    med: int
    is_lacking: bool = False  # a mandatory attribute, RFC 7606 section 3(d)


NO_ATTRIBUTES = Attributes({}, 0, frozenset(), OUR_OWN, 0)


def make_attributes(
    values: dict[str, Any], segments: Sequence[tuple[str, Sequence[int]]]
) -> Attributes:
    """Attributes with a path of (kind, AS numbers); a kind is as-sequence, as-set, as-confed-….

    values: the others by their reported names. The path is added to it, a set as a list of its own,
    and what a path that is cut does not show: routes with the same values are the same.
    """
    shown: list[Any] = []
    every: set[int] = set()
    length = in_confederation = 0
    origin: int | None = OUR_OWN
    for kind, numbers in segments:
        every.update(numbers)
        is_set = kind.endswith("set")
        before = len(shown)
        if is_set:
            shown.append(list(numbers[:MOST_PATH_SHOWN]))
        else:
            shown.extend(numbers)
        if "confed" in kind:
            in_confederation += len(shown) - before
            origin = OUR_OWN
        elif numbers:
            length += 1 if is_set else len(numbers)
            origin = None if is_set else numbers[-1]
    values["as_path"] = shown[:MOST_PATH_SHOWN]
    if in_confederation:
        values["as_path_confederation"] = in_confederation
    if len(shown) > MOST_PATH_SHOWN:
        values["as_path_length"] = length
        values["origin_as"] = None if origin == OUR_OWN else origin
    return Attributes(values, length, frozenset(every), origin, values.get("med", 0))


def rank_next_hop(address: str) -> int:
    """Global, then link-local (fe80::/10), then none at all."""
    if address in NO_NEXT_HOPS:
        return 2
    return 1 if address[:3].lower() in ("fe8", "fe9", "fea", "feb") else 0
