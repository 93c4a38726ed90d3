"""Who may do what.

Two roles: `read` may look, `operate` may also change. A bearer token (RFC 6750) gives a role. Who
comes over loopback or a local socket may look without. To change something a token is needed
always, but over a local socket while no token is configured: its file says who may connect.

Where no token is configured, the appliance makes one for changes and leaves it in a file that only
its own user can read (`local_token`), for commands on the same machine.

Browsers. A page of another site can have a browser call loopback, with neither a token nor the
sight of the answer; so nothing changes without a token there. It could see answers under a name
that resolves to loopback (DNS rebinding); so a Host that is a name other than localhost is refused
where no token is asked for.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Sequence
from enum import IntEnum
from urllib.parse import urlsplit

from aiohttp import web

from ocaserve.control.problems import Problem
from ocaserve.settings.control import Tokens

_log = logging.getLogger(__name__)

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="ocaserve"'}


class Role(IntEnum):
    """What a caller may do; the greater includes the lesser."""

    ANYONE = 0
    READ = 1
    OPERATE = 2


class Guard:
    """Decides by the tokens in force. `local_token` is the appliance's own, empty without."""

    def __init__(self, tokens: Tokens, local_token: str) -> None:
        self._operate = _encoded([*tokens.operate, *([local_token] if local_token else [])])
        self._read = _encoded(tokens.read)
        self._is_configured = bool(tokens.read or tokens.operate)

    def check(self, request: web.Request, needed: Role) -> None:
        """Raise Problem where the caller may not do what needs this role."""
        if needed is Role.ANYONE:
            return
        refuse_other_sites(request)
        held = self._role_of_token(request)
        if held is None:
            held = self._role_without_token(request)
        if held >= needed:
            return
        if "Authorization" in request.headers:
            raise Problem(403, f"this needs a token of the role {needed.name.lower()}")
        raise Problem(
            401, f"this needs a token of the role {needed.name.lower()}", headers=_CHALLENGE
        )

    def _role_of_token(self, request: web.Request) -> Role | None:
        """None without a token. A wrong one is refused, whatever could be done without."""
        given = request.headers.get("Authorization")
        if given is None:
            return None
        scheme, _, token = given.partition(" ")
        if scheme.lower() == "bearer":
            presented = token.strip().encode("utf-8", "surrogateescape")
            # All are compared, so that the time tells nothing about which one was near.
            may_operate = _is_among(presented, self._operate)
            may_read = _is_among(presented, self._read)
            if may_operate:
                return Role.OPERATE
            if may_read:
                return Role.READ
        _log.warning(
            "control: a wrong token from %s for %s %s",
            request.remote or "a local socket", request.method, request.path,
        )  # fmt: skip
        raise Problem(401, "the token is not one of this appliance", headers=_CHALLENGE)

    def _role_without_token(self, request: web.Request) -> Role:
        if is_over_local_socket(request):
            return Role.READ if self._is_configured else Role.OPERATE
        if not is_over_loopback(request):
            return Role.ANYONE
        if not is_name_of_loopback(request.host):
            raise Problem(421, "without a token, only localhost and addresses are answered to")
        return Role.READ


def refuse_other_sites(request: web.Request) -> None:
    """Raise Problem for what a browser sends on behalf of a page of another site."""
    origin = request.headers.get("Origin")
    is_other = origin is not None and urlsplit(origin).netloc != request.host
    if is_other and request.method not in ("GET", "HEAD"):
        raise Problem(403, "pages of other sites may change nothing here")


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
    name = urlsplit(f"//{host}").hostname or ""
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
