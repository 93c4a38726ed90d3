"""What communities (RFC 1997, RFC 8092) make of a route, as `[bgp.communities]` says.

A provider marks its routes, and the operator has said what a mark means here. All marks of a route
count: "exclude" is over all else, and of several weights the lowest is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

EXCLUDE = "exclude"
BACKUP = "backup"

Meanings = Mapping[str, str | float]
"""`EXCLUDE`, `BACKUP` or a weight, by the community as it is reported: "65001:100"."""


class Marks(NamedTuple):
    """weight: of the route in draws among equals, 1 for one that no community speaks of."""

    is_excluded: bool = False
    is_backup: bool = False
    weight: float = 1.0

    def values(self) -> dict[str, Any]:
        """As the report has them beside the route's attributes; nothing where nothing is marked."""
        told: dict[str, Any] = {"backup": True} if self.is_backup else {}
        return told if self.weight == 1.0 else {**told, "weight": self.weight}


_NO_MARKS = Marks()


def read_marks(attributes: Mapping[str, Any], meanings: Meanings) -> Marks:
    """attributes: as they are reported, by name."""
    if not meanings:
        return _NO_MARKS
    carried = (*attributes.get("communities", ()), *attributes.get("large_communities", ()))
    found = [meanings[each] for each in carried if each in meanings]
    weights = [float(each) for each in found if not isinstance(each, str)]
    return Marks(EXCLUDE in found, BACKUP in found, min(weights, default=1.0))
