r"""What one line of ExaBGP says, as compact values.

ExaBGP 5.0 writes one JSON object a line to its child. `decode` takes one and gives what happened:
`StateChange`, `SessionOpened`, `Update`, `EndOfRib`, `Refresh`, `Notified`, `Shutdown`, `Ignored`.
Bare text lines (answers to commands) are `Ignored` too. The feeder's own lines (see `bgp.feeder`)
are `FeederHello`, `FeederGap` and `FeederNeighbors`. It has no state, so what needs one is the
caller's: `Envelope.counter` grows by one a line of a session, and another `Envelope.pid` is another
ExaBGP, which knows nothing of what the last one said.

What ExaBGP leaves to us, each seen with 5.0.15:

- An IPv6 next hop with a second one beside it (RFC 2545 section 3) comes as the same prefixes
  twice, under either: the first global one counts.
- Segments of confederations come as plain sequences, so they count for a path's length and loops.
- A missing AS_PATH and an empty one are the same here; whose router may send one is the filters' to
  say.
- An AGGREGATOR without content is withdrawn by ExaBGP, where RFC 7606 section 7.7 would let go of
  the attribute alone.
- In the text announce comes before withdraw; in the message (RFC 4271 section 3.1) and here
  withdraw is first.
- Host bits may be set (`10.0.21.0/20`): they are let go, and counted.
- A missing NEXT_HOP stands as `"no-nexthop"`, here as an empty string.
- A withdraw by RFC 7606 comes with attributes and an `"error"` that begins "treat-as-withdraw"; one
  of "discard" says that an attribute was let go of, and the routes hold.
- A prefix may be a string or an object, with or without a path identifier (RFC 7911).
- A line may be hundreds of kilobytes.

Text that a peer chose is bounded, and what cannot be printed is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

from bgp.address_families import BY_EXABGP, BY_NUMBER, IPV4
from bgp.attributes import NO_ATTRIBUTES, Attributes, make_attributes, rank_next_hop
from bgp.events import (
    Announcement,
    EndOfRib,
    Envelope,
    Event,
    FeederGap,
    FeederHello,
    FeederNeighbors,
    Ignored,
    Neighbor,
    Nlri,
    Notified,
    Refresh,
    Session,
    SessionOpened,
    Shutdown,
    StateChange,
    Update,
)
from bgp.prefixes import WIDTH

TEXT_CHARACTERS = 256  # of a peer's text: RFC 9003 allows a shutdown message of 255 bytes
UNKNOWN_CHARACTERS = 512  # of an attribute that ExaBGP does not know, in hexadecimal


class MalformedLineError(ValueError):
    """A line that is not what ExaBGP 5 writes; the text says why, bounded."""


def decode(line: bytes, load: Callable[[bytes], Any] = json.loads) -> tuple[Envelope | None, Event]:
    """Decode one line; a bare text line has no envelope. Raises MalformedLineError.

    load: reads JSON, and raises ValueError or RecursionError for what is none.
    """
    if not line.lstrip().startswith(b"{"):
        return None, Ignored(printable(line[: TEXT_CHARACTERS * 4].decode("utf-8", "replace")))
    try:
        message = load(line)
    except (ValueError, RecursionError) as error:
        raise MalformedLineError(f"not JSON: {printable(str(error))}") from None
    try:
        if "feeder" in message:
            return None, _read_feeder(message)
        return _read_envelope(message), _read_event(message)
    except MalformedLineError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        what = printable(f"{type(error).__name__}: {error}")
        raise MalformedLineError(f"not as ExaBGP 5 writes it: {what}") from None


def printable(text: str, most: int = TEXT_CHARACTERS) -> str:
    """Text that somebody else chose, safe for a log and a terminal: bounded, one line."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text[:most]
    )
    return shown if len(text) <= most else f"{shown}…"


# -- envelope ------------------------------------------------------------------------------------


def _read_envelope(message: Mapping[str, Any]) -> Envelope:
    version = message["exabgp"]
    if not str(version).startswith("5."):
        raise MalformedLineError(
            f"JSON version {printable(str(version), 20)!r}: must be 5.x, as ExaBGP 5.0 writes"
        )
    neighbor = message.get("neighbor")
    pid, time = int(message["pid"]), float(message["time"])
    if neighbor is None:
        return Envelope(pid, time, None, None, 0, 0)
    address, asn = neighbor["address"], neighbor["asn"]
    return Envelope(
        pid,
        time,
        message.get("counter"),
        Session(str(address["peer"]), str(address["local"])),
        _as_number(asn["peer"]),
        _as_number(asn["local"]),
    )


def _as_number(value: object) -> int:
    """0 where it is not known yet: `auto` stands there before the OPEN."""
    return value if isinstance(value, int) else 0


# -- the feeder's lines ----------------------------------------------------------------------------


def _read_feeder(message: Mapping[str, Any]) -> Event:
    kind = message["feeder"]
    if kind == "hello":
        return FeederHello(int(message["exabgp_pid"]))
    if kind == "gap":
        return FeederGap(int(message["dropped"]))
    if kind == "neighbors":
        return FeederNeighbors([_read_neighbor(each) for each in message["neighbors"]])
    return Ignored(printable(f"feeder: {kind}", 40))


def _read_neighbor(given: Mapping[str, Any]) -> Neighbor:
    return Neighbor(
        Session(str(given["peer"]), str(given["local"])),
        _as_number(given["peer_as"]),
        _as_number(given["local_as"]),
        bool(given["up"]),
        frozenset(BY_EXABGP[name] for name in given["families"] if name in BY_EXABGP),
        bool(given["asked"]),
    )


# -- events --------------------------------------------------------------------------------------


def _read_event(message: Mapping[str, Any]) -> Event:
    kind = message["type"]
    neighbor = message.get("neighbor")
    if neighbor is None:
        if kind == "notification" and message["notification"] == "shutdown":
            return Shutdown()
        return Ignored(printable(str(kind), 40))
    if kind == "update":
        return _read_update(neighbor["message"])
    reader = _READERS.get(kind)
    return reader(neighbor) if reader else Ignored(printable(str(kind), 40))


def _read_state(neighbor: Mapping[str, Any]) -> Event:
    state = neighbor["state"]
    if state not in ("connected", "up", "down"):
        raise MalformedLineError(f"state {printable(str(state), 40)!r}")
    reason = printable(str(neighbor.get("reason", "")))
    for prefix, is_ours in (("notification received (", False), ("notification sent (", True)):
        if reason.startswith(prefix):
            code, _, subcode = reason[len(prefix) :].rstrip(")").partition(",")
            if code.strip().isdigit() and subcode.strip().isdigit():
                return StateChange(state, reason, (int(code), int(subcode)), is_ours)
    return StateChange(state, reason)


def _read_open(neighbor: Mapping[str, Any]) -> Event:
    if neighbor.get("direction") == "send":
        return Ignored("open sent")
    opened = neighbor["open"]
    capabilities = opened["capabilities"]
    spoken = capabilities.get("1", {"families": ["ipv4/unicast"]})["families"]
    return SessionOpened(
        int(capabilities.get("65", {}).get("asn4", opened["asn"])),  # else AS_TRANS, RFC 6793
        int(opened["hold_time"]),
        str(opened["router_id"]),
        frozenset(int(code) for code in capabilities if str(code).isdigit()),
        frozenset(family for name, family in BY_EXABGP.items() if name.replace(" ", "/") in spoken),
        _read_add_path(capabilities.get("69", {})),
        int(restart["time"]) if (restart := capabilities.get("64")) else None,
    )


def _read_add_path(capability: Mapping[str, Any]) -> frozenset[int]:
    """The families of which the peer sends several paths: "send" or "send/receive"."""
    told = {name: str(capability.get(name.replace(" ", "/"), "")) for name in BY_EXABGP}
    return frozenset(BY_EXABGP[name] for name, way in told.items() if "send" in way)


def _read_refresh(neighbor: Mapping[str, Any]) -> Event:
    refresh = neighbor["route-refresh"]
    family = BY_EXABGP.get(f"{refresh['afi']} {refresh['safi']}")
    phase = refresh["subtype"]
    if family is None or neighbor.get("direction") == "send":
        return Ignored("refresh")
    if phase not in ("begin", "end", "request"):
        raise MalformedLineError(f"refresh subtype {printable(str(phase), 40)!r}")
    return Refresh(family, phase)


def _read_notification(neighbor: Mapping[str, Any]) -> Event:
    notice = neighbor["notification"]
    return Notified(
        int(notice["code"]),
        int(notice["subcode"]),
        printable(str(notice.get("message", ""))),
        neighbor.get("direction") == "send",
    )


_READERS = {
    "state": _read_state,
    "open": _read_open,
    "refresh": _read_refresh,
    "notification": _read_notification,
}


# -- updates -------------------------------------------------------------------------------------


def _read_update(message: Mapping[str, Any]) -> Event:
    eor = message.get("eor")
    if eor is not None:
        family = BY_EXABGP.get(f"{eor['afi']} {eor['safi']}")
        return EndOfRib(family) if family else Ignored("end of another family")
    update = message["update"]
    seen = _Seen()
    withdrawn = [
        (BY_EXABGP[name], seen.read(BY_EXABGP[name], items))
        for name, items in update.get("withdraw", {}).items()
        if seen.is_ours(name, items)
    ]
    announced = [
        Announcement(BY_EXABGP[name], next_hop, seen.read(BY_EXABGP[name], items))
        for name, hops in update.get("announce", {}).items()
        for next_hop, items in _choose_next_hops(hops)
        if seen.is_ours(name, items)
    ]
    values = update.get("attribute", {})
    error = str(values.get("error", ""))
    return Update(
        withdrawn,
        announced,
        _read_attributes(values) if announced else NO_ATTRIBUTES,
        error.startswith("treat-as-withdraw"),
        int(error.startswith("discard")),
        seen.noncanonical,
        seen.malformed,
        seen.foreign,
    )


def _choose_next_hops(hops: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Next hop and prefixes; of two for the same prefixes, the first that is the most of use."""
    groups = [("" if hop == "no-nexthop" else hop, items) for hop, items in hops.items()]
    kept: list[tuple[str, Any]] = []
    for hop, items in sorted(groups, key=lambda group: rank_next_hop(group[0])):
        if all(items != others for _, others in kept):
            kept.append((hop, items))
    return kept


class _Seen:
    """Reads lists of prefixes, and counts what is odd about them."""

    def __init__(self) -> None:
        self.noncanonical = self.malformed = self.foreign = 0

    def is_ours(self, family: str, items: Sequence[Any]) -> bool:
        if family in BY_EXABGP:
            return True
        self.foreign += len(items)
        return False

    def read(self, family: int, items: Sequence[Any]) -> list[Nlri]:
        """Prefixes from strings or objects. One loop, as this is where a full table's time goes."""
        width, af = WIDTH[family], AF_INET if BY_NUMBER[family].version == IPV4 else AF_INET6
        found: list[Nlri] = []
        for item in items:
            try:
                is_plain = isinstance(item, str)
                address, _, length_text = (item if is_plain else item["nlri"]).partition("/")
                length = int(length_text)
                value = int.from_bytes(inet_pton(af, address), "big")
                rest = width - length
                bits = value >> rest  # raises ValueError where the length is too great
                path_id = _read_path_id(item)
            except (ValueError, KeyError, TypeError, OSError, AttributeError):
                self.malformed += 1
                continue
            if length < 0:
                self.malformed += 1
                continue
            if bits << rest != value:
                self.noncanonical += 1
            found.append((length, bits, path_id))
        return found


def _read_path_id(item: Any) -> int:
    """RFC 7911: 32 bits, written as a dotted quad."""
    if isinstance(item, str) or "path-information" not in item:
        return 0
    return int.from_bytes(inet_pton(AF_INET, item["path-information"]), "big")


# -- attributes ----------------------------------------------------------------------------------

_PLAIN = {
    "origin": "origin",
    "med": "med",
    "local-preference": "local_preference",
    "atomic-aggregate": "atomic_aggregate",
    "aggregator": "aggregator",
    "originator-id": "originator_id",
    "cluster-list": "cluster_list",
}


def _read_attributes(given: Mapping[str, Any]) -> Attributes:
    values: dict[str, Any] = {
        ours: given[theirs] for theirs, ours in _PLAIN.items() if theirs in given
    }
    for theirs, ours in (("community", "communities"), ("large-community", "large_communities")):
        if theirs in given:
            values[ours] = [":".join(map(str, each)) for each in given[theirs]]
    if "extended-community" in given:
        values["extended_communities"] = [
            each["string"] or f"0x{each['value']:016x}" for each in given["extended-community"]
        ]
    unknown = {
        printable(name.removeprefix("attribute-"), 40): printable(str(value), UNKNOWN_CHARACTERS)
        for name, value in given.items()
        if name.startswith("attribute-")
    }
    if unknown:
        values["other"] = unknown
    if not isinstance(values.get("med", 0), int):
        raise MalformedLineError(f"med {printable(str(values['med']), 40)!r}")
    segments = [
        (segment["element"], segment["value"]) for segment in given.get("as-path", {}).values()
    ]
    return make_attributes(values, segments)
