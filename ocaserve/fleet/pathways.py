"""The ways that a player may take through a film: one for each appliance, the best first.

A player knows a pathway by its id, keeps to it while it works, and goes to the next one when it
fails; a steering manifest tells it now and then which it should be on. Where URLs of an appliance
are signed, what stands before the path opens a folder of it (`protocol.signatures`), since players
keep a path and drop a query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import SplitResult, urljoin, urlsplit

from ocaserve.fleet.client_urls import Object, Signer, parse_path
from ocaserve.fleet.decisions import Candidate, Group, choose, in_order

MOST_PATHWAYS = 6
"""In a playlist. Three can fail at once; more make each playlist longer for nothing."""
MOST_LISTED = 32
"""That a steering request may name."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")  # draft-pantos-hls-rfc8216bis, section 4.4.6.6
_LOCAL = "http://o"


Holds = Callable[[str], bool] | None
"""Whether an appliance has the object; None: all have."""


class PlaylistError(Exception):
    """The object's own playlist is not one that can be given pathways; the text says why."""


class Pathway(NamedTuple):
    """What leads to one appliance. expires: of its URLs; folder: a key, that opens them."""

    id: str
    signer: Signer
    expires: int
    folder: bytes

    def locate(self, wanted: Object) -> str:
        """The URL of an object there. One outside of the folder is opened by its own."""
        folder, key = self.folder, wanted.key
        if not (folder and key.startswith(folder + b"/")):
            folder = key.rpartition(b"/")[0]
        if not folder:
            return self.signer.make(wanted, self.expires)
        return self.signer.make_in_folder(wanted, folder, self.expires)


def pathway_id(appliance: str) -> str:
    """The appliance's own id, or where that has characters that none may have, a digest of it."""
    if _ID.match(appliance):
        return appliance
    return blake2b(appliance.encode(), digest_size=8).hexdigest()


def rank_pathways(groups: Sequence[Group], seed: bytes, holds: Holds = None) -> list[Candidate]:
    """Who is named in a playlist: those that are chosen, then the next."""
    chosen = choose(groups, seed, holds)
    names = {each.server.id for each in chosen}
    others = [each for each in in_order(groups, seed, holds) if each.server.id not in names]
    return [*chosen, *others][:MOST_PATHWAYS]


def rank_again(
    groups: Sequence[Group],
    seed: bytes,
    listed: Sequence[str],
    holds: Holds = None,
) -> list[Candidate]:
    """All that can take the client now. listed: ids of pathways, the best first.

    Among equals the order is that of the list: a player that does well stays where it is, though
    draws differ from minute to minute.
    """
    places = {name: place for place, name in enumerate(listed)}
    able = list(in_order(groups, seed, holds))
    return sorted(
        able, key=lambda each: (each.order, places.get(pathway_id(each.server.id), len(places)))
    )


def parse_listed(text: str) -> list[str]:
    """The ids in a steering request's path. Raises ValueError."""
    listed = text.split(",")
    if len(listed) > MOST_LISTED or not all(map(_ID.match, listed)):
        raise ValueError(f"{text[:60]!r}: must be up to {MOST_LISTED} ids of pathways")
    return listed


class Reference(NamedTuple):
    """Where a playlist's URI leads. wanted: None where it is another host's, and `text` all of it.

    rest: query and fragment, with their marks.
    """

    wanted: Object | None
    rest: str
    text: str

    def on(self, pathway: Pathway) -> str:
        """The URL by this pathway."""
        return self.text if self.wanted is None else pathway.locate(self.wanted) + self.rest


def resolve(base: Object, uri: str) -> Reference:
    """What a URI in the playlist `base` leads to. Raises PlaylistError where that is no object."""
    parts = _split(base, uri)
    if f"{parts.scheme}://{parts.netloc}" != _LOCAL:
        return Reference(None, "", uri)
    rest = f"?{parts.query}" * bool(parts.query) + f"#{parts.fragment}" * bool(parts.fragment)
    try:
        return Reference(parse_path(parts.path), rest, uri)
    except ValueError as error:
        raise PlaylistError(f"{uri[:200]!r}: {error}") from error


def _split(base: Object, uri: str) -> SplitResult:
    try:
        return urlsplit(urljoin(_LOCAL + base.path, uri))
    except ValueError as error:
        raise PlaylistError(f"{uri[:200]!r}: {error}") from error


# -- steering ------------------------------------------------------------------------------------


class Clone(NamedTuple):
    """A pathway that came later: that of `base` at another host, without scheme and port."""

    id: str
    base: str
    host: str


def find_clones(
    ranked: Iterable[Candidate], listed: Sequence[str], signers: dict[str, Signer]
) -> list[Clone]:
    """Those of the ranked that are not listed and differ from one that is by their host alone.

    Of a URL players replace the host, and some of them nothing else: neither a port nor a token.
    So a clone is of an appliance without signatures, and has its base's scheme and port.
    """
    able = {pathway_id(each.server.id): signers[each.server.id] for each in ranked}
    bases: dict[tuple[str, int | None], str] = {}  # by scheme and port, the first that is listed
    for name in listed:
        signer = able.get(name) or signers.get(name)
        if signer is not None and not signer.location.secret:
            bases.setdefault((signer.parts.scheme, signer.parts.port), name)
    clones = []
    for name, signer in able.items():
        if name not in listed and not signer.location.secret:
            base = bases.get((signer.parts.scheme, signer.parts.port))
            if base is not None:
                clones.append(Clone(name, base, _host_of(signer.parts)))
    return clones


def _host_of(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def prioritize(
    ranked: Iterable[Candidate], listed: Sequence[str], clones: Iterable[Clone]
) -> list[str]:
    """Ids that the player knows, the best first; who can take it now comes before who cannot."""
    known = {*listed, *(each.id for each in clones)}
    able = [name for each in ranked if (name := pathway_id(each.server.id)) in known]
    return [*able, *(name for name in listed if name not in able)]
