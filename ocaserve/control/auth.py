"""Who may do what.

Two roles: `read` may look, `operate` may also change. A bearer token (RFC 6750) gives a role. Who
comes over loopback or a local socket may look without. To change something a token is needed
always, but over a local socket while no token is configured: its file says who may connect.

Where no token is configured, the appliance makes one for changes and leaves it in a file that only
its own user can read (`local_token`), for commands on the same machine.

Browsers. A page of another site can have a browser call loopback, with neither a token nor the
sight of the answer. It must cost nothing: whatever a browser marks as of another site is refused,
reads too, and nothing changes without a token. It could see answers under a name that resolves to
loopback (DNS rebinding); so a Host that is a name other than localhost is refused where no token is
asked for.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import web

from ocaserve.control.problems import Problem
from ocaserve.settings.control import Tokens

_log = logging.getLogger(__name__)

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="ocaserve"'}


class Role(IntEnum):
    """What a caller may do; the greater includes the lesser."""

    ANYONE = 0
    FILL = 1  # another appliance of the site: pieces of objects, and nothing else
    READ = 2
    OPERATE = 3


class Caller(NamedTuple):
    """Who calls, and what he shows. address: empty over a local socket. Fields are as they came,
    None without; host is empty then. what: is called, for the log.

    is_local: over a path of the file system; is_near: over an address that only this machine
    reaches.
    """

    address: str
    what: str
    host: str
    is_local: bool
    is_near: bool
    authorization: str | None = None
    origin: str | None = None
    fetch_site: str | None = None


def caller_of(request: web.Request) -> Caller:
    """Who sends this."""
    return Caller(
        address=request.remote or "",
        what=f"{request.method} {request.path}",
        host=request.host,
        is_local=is_over_local_socket(request),
        is_near=is_over_loopback(request),
        authorization=request.headers.get("Authorization"),
        origin=request.headers.get("Origin"),
        fetch_site=request.headers.get("Sec-Fetch-Site"),
    )


class Guard:
    """Decides by the tokens in force. `local_token` is the appliance's own, empty without.

    is_open: whether who comes over loopback or a local socket may look without a token.
    """

    def __init__(self, tokens: Tokens, local_token: str, *, is_open: bool = True) -> None:
        self._is_open = is_open
        self._operate = _encoded([*tokens.operate, *([local_token] if local_token else [])])
        self._read = _encoded(tokens.read)
        self._fill = _encoded(tokens.fill)
        self._is_configured = bool(tokens.read or tokens.operate)

    def check(self, request: web.Request, needed: Role) -> None:
        """Raise Problem where the caller may not do what needs this role."""
        if needed is not Role.ANYONE:
            self.admit(caller_of(request), needed)

    def admit(self, caller: Caller, needed: Role) -> None:
        """The same, of who is not aiohttp's."""
        refuse_other_sites(caller)
        held = self._role_of_token(caller)
        if held is None:
            held = self._role_without_token(caller)
        if held >= needed:
            return
        if caller.authorization is not None:
            raise Problem(403, f"this needs a token of the role {needed.name.lower()}")
        raise Problem(
            401, f"this needs a token of the role {needed.name.lower()}", headers=_CHALLENGE
        )

    def _role_of_token(self, caller: Caller) -> Role | None:
        """None without a token. A wrong one is refused, whatever could be done without."""
        given = caller.authorization
        if given is None:
            return None
        scheme, _, token = given.partition(" ")
        if scheme.lower() == "bearer":
            presented = token.strip().encode("utf-8", "surrogateescape")
            # All are compared, so that the time tells nothing about which one was near.
            may_operate = _is_among(presented, self._operate)
            may_read = _is_among(presented, self._read)
            may_fill = _is_among(presented, self._fill)
            if may_operate:
                return Role.OPERATE
            if may_read:
                return Role.READ
            if may_fill:
                return Role.FILL
        _log.warning(
            "control: a wrong token from %s for %s",
            caller.address or "a local socket", caller.what,
        )  # fmt: skip
        raise Problem(401, "the token is not one of this appliance", headers=_CHALLENGE)

    def _role_without_token(self, caller: Caller) -> Role:
        if not self._is_open:
            return Role.ANYONE
        if caller.is_local:
            return Role.READ if self._is_configured else Role.OPERATE
        if not caller.is_near:
            return Role.ANYONE
        if not is_name_of_loopback(caller.host):
            raise Problem(421, "without a token, only localhost and addresses are answered to")
        return Role.READ


def refuse_other_sites(caller: Caller) -> None:
    """Raise Problem for what a browser sends on behalf of a page of another site.

    It says so by Origin, and for what it gets without one by Sec-Fetch-Site (Fetch Metadata).
    """
    site = (caller.fetch_site or "none").strip().lower()
    is_other = caller.origin is not None and _place_of(caller.origin) != caller.host.lower()
    if is_other or site not in ("none", "same-origin"):
        raise Problem(403, "pages of other sites may ask for nothing here")


def _place_of(origin: str) -> str:
    """Host and port of an Origin; empty where it has none that can be read."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def is_over_local_socket(request: web.Request) -> bool:
    """Whether the caller came over a path of the file system."""
    name = _own_name(request)
    return name is not None and not isinstance(name, tuple)


def is_over_loopback(request: web.Request) -> bool:
    """Whether the caller used an address that only this machine reaches."""
    name = _own_name(request)
    return isinstance(name, tuple) and ipaddress.ip_address(name[0]).is_loopback


def _own_name(request: web.Request) -> object:
    transport = request.transport
    return None if transport is None else transport.get_extra_info("sockname")


def is_name_of_loopback(host: str) -> bool:
    """Whether a Host field is an address or localhost, which no foreign name server can give."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _encoded(tokens: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(token.encode() for token in tokens)


def _is_among(presented: bytes, tokens: Sequence[bytes]) -> bool:
    found = False
    for token in tokens:
        found |= hmac.compare_digest(presented, token)
    return found
