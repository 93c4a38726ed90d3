"""Why these, and why not those: a decision in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bgp.prefixes import format_address
from ocaserve.fleet.decisions import Candidate, Group, heard_network
from ocaserve.policies.rulings import BUILT_IN, Ruling

_STEPS = (
    ("shortness", "its network is less specific"),
    ("is_backup", "its communities make its route a backup"),
    ("path_length", "its AS path is longer"),
    ("med", "its MED is higher"),
    ("kind", "its kind of site comes later"),
    ("steps", "its site is farther away"),
)
_KINDS = ("embedded", "pni", "exchange")


def tell_decision(
    groups: Sequence[Group],
    chosen: Sequence[Candidate],
    client: tuple[int, int],
    holds: Callable[[str], bool] | None = None,
    ruling: Ruling = BUILT_IN,
) -> Iterator[str]:
    """Sentences, the most telling first. client: its family and its address. holds: whether one
    has the object; None: all have. ruling: of policies.
    """
    if not groups:
        yield f"no appliance hears a network that covers {format_address(*client)}"
        return
    if chosen:
        first = chosen[0]
        yield (
            f"{_name(first)} is the first: it hears {heard_network(first, *client)}, "
            f"AS path {first.order.path_length}, MED {first.order.med}{_tell_marks(first)}"
        )
        yield from _tell_of_thief(groups, client)
    else:
        yield "no appliance that hears the client can take it"
    for candidate in (each for group in groups for each in group):
        if reason := tell_candidate(candidate, chosen, holds, ruling):
            yield f"{_name(candidate)}: {reason}"
    if ruling.by:
        yield f"policies in force for the client: {', '.join(ruling.by)}"


def tell_candidate(
    candidate: Candidate,
    chosen: Sequence[Candidate],
    holds: Callable[[str], bool] | None = None,
    ruling: Ruling = BUILT_IN,
) -> str:
    """Why it is not the first; empty for that one."""
    if candidate.server.fault:
        return candidate.server.fault
    if (why := ruling.refused.get(candidate.server.id)) is not None:
        return f"by policy: {why}"
    if holds is not None and not holds(candidate.server.id):
        return "it does not have the object"
    if not chosen or candidate.server.id == chosen[0].server.id:
        return ""
    best = chosen[0]
    if candidate.order < best.order:
        return "a policy puts it behind the first"
    for place, (field, words) in enumerate(_STEPS):
        ours, theirs = candidate.order[place], best.order[place]
        if ours != theirs and field == "is_backup":
            return words
        if ours != theirs:
            return f"{words} ({_show(field, ours)} against {_show(field, theirs)})"
    weight, other = candidate.rank.weight, best.rank.weight
    against = "" if weight == other else f" (its route's weight is {weight:g} against {other:g})"
    factor = ruling.weights.get(candidate.server.id, 1.0)
    other_factor = ruling.weights.get(best.server.id, 1.0)
    if factor != other_factor:
        against += f" (policies weigh it by {factor:g} against {other_factor:g})"
    return f"equal to the first, and drawn behind it{against}"


def _tell_marks(candidate: Candidate) -> str:
    """What communities make of its route."""
    rank = candidate.rank
    weight = "" if rank.weight == 1 else f", weight {rank.weight:g}"
    return f"{', a backup' * rank.is_backup}{weight}"


def _show(field: str, value: int) -> str:
    match field:
        case "shortness":
            return f"/{-value}"
        case "kind":
            return _KINDS[value]
        case "steps":
            return f"{value * 10} km"
        case _:
            return str(value)


def _tell_of_thief(groups: Sequence[Group], client: tuple[int, int]) -> Iterator[str]:
    """Who gets clients of another site by a more specific network, perhaps not meant to."""
    thief = groups[0][0]
    robbed = [
        each
        for group in groups
        for each in group
        if each.order.shortness > thief.order.shortness
        and each.server.site != thief.server.site
        and each.order[1:5] < thief.order[1:5]
    ]
    if robbed:
        yield (
            f"the more specific {heard_network(thief, *client)} at site {thief.server.site!r} "
            f"takes the client from {_name(robbed[0])}, which hears "
            f"{heard_network(robbed[0], *client)} and would be preferred otherwise"
        )


def _name(candidate: Candidate) -> str:
    return f"{candidate.server.id} of site {candidate.server.site!r}"
