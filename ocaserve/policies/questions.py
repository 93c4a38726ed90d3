"""What a policy is asked: a client, the servers that hear it, and a class of objects.

Fields are coarse on purpose: an answer is kept for all questions that are equal. A program gets the
fields that it names and no others (`Reads`), so one that looks at the hour alone is asked once an
hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ocaserve.policies.bundles import Bundle


class ClientFacts(NamedTuple):
    """Who is to be served.

    family: 4 or 6. network: the longest that is announced for it. hour: 0 to 23, UTC. latitude and
    longitude: in whole degrees, None where they are not known.
    """

    family: int
    network: str
    hour: int
    latitude: int | None = None
    longitude: int | None = None


class ServerFacts(NamedTuple):
    """An appliance that hears it.

    kind: embedded, pni or exchange. capacity: in bits per second. used: of that, in tenths from
    0.0 to 1.0. path_length and med: of its route. labels: what the operator's settings say of it.
    """

    id: str
    site: str
    kind: str
    capacity: float
    used: float = 0.0
    path_length: int = 0
    med: int = 0
    labels: Mapping[str, str] = {}


class ObjectFacts(NamedTuple):
    """Which sort of object. folder: the first part of its key; suffix: `.mp4`; empty without."""

    folder: str = ""
    suffix: str = ""


class PolicyQuestion(NamedTuple):
    """servers: at least one, each once."""

    client: ClientFacts
    servers: tuple[ServerFacts, ...]
    object: ObjectFacts


class Reads(NamedTuple):
    """The fields of each that a program is given."""

    client: tuple[str, ...]
    server: tuple[str, ...]
    object: tuple[str, ...]


def find_reads(bundle: Bundle) -> Reads:
    """Those that it names. A server has its id always: answers are about it."""
    named = bundle.words | {"id"}
    return Reads(
        *(
            tuple(field for field in facts._fields if field in named)
            for facts in (ClientFacts, ServerFacts, ObjectFacts)
        )
    )


def pick(facts: ClientFacts | ServerFacts | ObjectFacts, fields: Iterable[str]) -> dict[str, Any]:
    """As a program gets it."""
    return {name: getattr(facts, name) for name in fields}


def classify_key(key: str) -> ObjectFacts:
    """Of an object's key."""
    path = key.lstrip("/")
    folder, slash, _ = path.partition("/")
    name = path.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return ObjectFacts(folder if slash else "", f".{suffix.lower()}" if dot and stem else "")
