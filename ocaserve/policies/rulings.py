"""What policies say to a question: a value, which decisions apply and records keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Ruling(NamedTuple):
    """Of one policy, or of all that are in force for a client.

    refused: why servers are not admitted, by their ids. weights: what the shares of servers among
    equals are multiplied by; of the others 1. by: NAME@VERSION of the policies that have answered.
    """

    refused: Mapping[str, str] = {}
    weights: Mapping[str, float] = {}
    by: tuple[str, ...] = ()


BUILT_IN = Ruling()
"""That of nobody: the order of decisions alone."""


def merge_rulings(rulings: Iterable[Ruling]) -> Ruling:
    """Whom one refuses is refused, weights multiply; the first reason stands."""
    refused: dict[str, str] = {}
    weights: dict[str, float] = {}
    by: list[str] = []
    for each in rulings:
        refused = {**each.refused, **refused}
        for server, weight in each.weights.items():
            weights[server] = weights.get(server, 1.0) * weight
        by += each.by
    return Ruling(refused, weights, tuple(by))
