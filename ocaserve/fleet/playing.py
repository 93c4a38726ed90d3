"""What ordinary players are answered: playlists with pathways, and steering manifests.

What players do decides what is answered (read in the sources of hls.js 1.7, dash.js 5.2 and Shaka
5.2). dash.js ends steering for ever on 404 and 410, hls.js on 410 and 429; hls.js asks without a
pause where TTL is missing. So a steering request is answered with 200 and a TTL, whatever has
become of its client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import quote

import msgspec
from msgspec import Struct

from ocaserve.control.auth import Role
from ocaserve.control.endpoints import Endpoint
from ocaserve.control.lanes import Lane
from ocaserve.control.problems import Problem
from ocaserve.fleet.answering import (
    client_of,
    insist_that_it_knows,
    nobody,
    session_field,
    viewer_of,
)
from ocaserve.fleet.client_desk import ClientCall
from ocaserve.fleet.client_urls import Object, parse_key
from ocaserve.fleet.dash_playlists import MEDIA_TYPE_DASH, add_dash_pathways
from ocaserve.fleet.deciding import Decider
from ocaserve.fleet.fleet_shapes import PlayQuery
from ocaserve.fleet.hls_playlists import MEDIA_TYPE_HLS, add_hls_pathways
from ocaserve.fleet.originals import OriginalError
from ocaserve.fleet.pathways import (
    Pathway,
    PlaylistError,
    find_clones,
    parse_listed,
    pathway_id,
    prioritize,
    rank_again,
    rank_pathways,
)
from ocaserve.fleet.verdicts import (
    STEERED,
    MissingRulings,
    Viewer,
    decide,
    rank_by_policies,
    rank_now,
)
from ocaserve.serving.replies import Reply

_LISTED_SAFE = ",.-_"

_Kind = Literal["hls", "dash"]
_KINDS: Mapping[str, _Kind] = {".m3u8": "hls", ".mpd": "dash"}


class CloneReplacement(Struct, frozen=True, rename="upper"):
    host: str


class CloneShown(Struct, frozen=True):
    """A pathway that the playlist does not have."""

    base_id: str = msgspec.field(name="BASE-ID")
    id: str = msgspec.field(name="ID")
    replacement: CloneReplacement = msgspec.field(name="URI-REPLACEMENT")


class SteeringManifest(Struct, frozen=True, omit_defaults=True):
    """draft-pantos-content-steering section 4; what video.js wants for DASH beside it."""

    version: int = msgspec.field(name="VERSION")
    ttl: int = msgspec.field(name="TTL")
    reload_uri: str = msgspec.field(name="RELOAD-URI")
    priority: list[str] = msgspec.field(name="PATHWAY-PRIORITY")
    locations: list[str] = msgspec.field(name="SERVICE-LOCATION-PRIORITY", default_factory=list)
    clones: list[CloneShown] = msgspec.field(name="PATHWAY-CLONES", default_factory=list)


async def play(asked: ClientCall) -> Reply:
    """The object's own playlist, with a pathway for each of those that can serve the client."""
    insist_that_it_knows(asked.decider)
    client = viewer_of(asked)
    (name,) = asked.parts
    kind = _KINDS.get(name[name.rfind(".") :])
    if kind is None:
        raise Problem(404, f"{name[:200]!r}: only {' and '.join(_KINDS)} are played")
    try:
        wanted = parse_key(name)
    except ValueError as error:
        raise Problem(404, str(error)) from error
    pathways, session = await find_pathways(asked.decider, client, wanted)
    urls = [each.locate(wanted) for each in pathways]
    try:
        data = await asked.desk.originals.get(wanted.key, urls)
    except OriginalError as error:
        if error.is_crowded:
            raise Problem(503, str(error), headers={"Retry-After": "1"}) from error
        status = 404 if error.is_absent else 502
        raise Problem(status, f"{name[:200]!r}: no appliance gave it: {error}") from error
    server_uri = _server_uri(asked, kind, [each.id for each in pathways], wanted)
    try:
        reply = _with_pathways(
            kind, data, wanted, pathways, server_uri, asked.decider.settings.client_bits_per_s
        )
    except PlaylistError as error:
        raise Problem(502, f"the playlist {name[:200]!r} {error}") from error
    return reply._replace(fields=reply.fields + session_field(session).encode())


def _with_pathways(
    kind: _Kind, data: bytes, wanted: Object, pathways: Sequence[Pathway], server_uri: str,
    client_bits_per_s: float,
) -> Reply:  # fmt: skip
    if kind == "dash":
        return _reply(MEDIA_TYPE_DASH, add_dash_pathways(data, wanted, pathways, server_uri))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise PlaylistError("is not UTF-8") from error
    bits_per_s = max(int(client_bits_per_s), 1)
    made = add_hls_pathways(text, wanted, pathways, server_uri, bits_per_s)
    return _reply(MEDIA_TYPE_HLS, made.encode())


def _reply(media: str, body: bytes) -> Reply:
    return Reply(200, f"Content-Type: {media}\r\n".encode(), body)


async def find_pathways(
    decider: Decider, client: Viewer, wanted: Object
) -> tuple[list[Pathway], str]:
    """To those that serve the client the object, the best first; and the client's session.

    Raises Problem.
    """
    decision = await decide(decider, client, {"": wanted}, is_public=True)
    if not decision.chosen[""]:
        raise nobody(decision)
    holds = decider.holders_of(wanted.key)
    ranked = await rank_by_policies(
        decider, client, wanted,
        lambda groups, seed: rank_pathways(groups, seed, holds),
    )  # fmt: skip
    folder = wanted.key.rpartition(b"/")[0]
    pathways = []
    for each in ranked.candidates:
        signer = decider.signers[each.server.id]
        if signer.location.secret and not folder:
            raise Problem(404, "it is in no folder, so what it names could not be signed for")
        pathways.append(Pathway(pathway_id(each.server.id), signer, decision.expires, folder))
    return pathways, decision.session


def _server_uri(asked: ClientCall, kind: _Kind, listed: Sequence[str], wanted: Object) -> str:
    """Absolute, and with all that it needs in its path: players change queries as they like."""
    host = (asked.inquiry.fields.host or b"").decode()
    base = asked.decider.settings.clients_url or f"{asked.desk.scheme}://{host}"
    ids = quote(",".join(listed), safe=_LISTED_SAFE)
    return f"{base.rstrip('/')}/v1/steering/{kind}/{ids}{wanted.path}"


def steer_hls(asked: ClientCall) -> Reply | MissingRulings:
    return _steer(asked, "hls")


def steer_dash(asked: ClientCall) -> Reply | MissingRulings:
    return _steer(asked, "dash")


def _steer(asked: ClientCall, kind: _Kind) -> Reply | MissingRulings:
    """Which pathway the player should be on; 422 only for what no playlist of ours names."""
    decider = asked.decider
    pathways, key = asked.parts
    try:
        listed, wanted = parse_listed(pathways), parse_key(key)
    except ValueError as error:
        raise Problem(422, f"the path: {error}") from error
    holds = decider.holders_of(wanted.key)
    ranked = rank_now(
        decider, client_of(asked.ip), wanted,
        lambda groups, seed: rank_again(groups, seed, listed, holds),
        is_last=asked.is_last,
    )  # fmt: skip
    if isinstance(ranked, MissingRulings):
        return ranked
    clones = find_clones(ranked.candidates, listed, decider.signers)
    priority = prioritize(ranked.candidates, listed, clones)
    manifest = SteeringManifest(
        version=1,
        ttl=decider.settings.answer_ttl_s,
        reload_uri=_server_uri(asked, kind, listed, wanted),
        priority=priority,
        locations=priority if kind == "dash" else [],
        clones=[CloneShown(each.base, each.id, CloneReplacement(each.host)) for each in clones],
    )
    decider.notes.outcomes[STEERED] += 1
    return _reply("application/json", msgspec.json.encode(manifest))


ENDPOINTS = (
    Endpoint(
        "GET", "/play/{key:.+}", play,
        "A playlist with a pathway for each appliance; `OcaServe-Session` is as that of `/r/`",
        "The object's own, .m3u8 or .mpd, with Content Steering", media=MEDIA_TYPE_HLS,
        role=Role.ANYONE, lane=Lane.FETCHING, query=PlayQuery, refuses=(404, 422, 502, 503),
    ),
    Endpoint(
        "GET", "/v1/steering/hls/{pathways}/{key:.+}", steer_hls,
        "Which pathway a player of HLS should be on", SteeringManifest, role=Role.ANYONE,
        lane=Lane.STEERING, refuses=(422,),
    ),
    Endpoint(
        "GET", "/v1/steering/dash/{pathways}/{key:.+}", steer_dash,
        "Which pathway a player of DASH should be on", SteeringManifest, role=Role.ANYONE,
        lane=Lane.STEERING, refuses=(422,),
    ),
)  # fmt: skip
