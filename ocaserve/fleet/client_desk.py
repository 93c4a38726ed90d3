"""What clients ask, and what they are answered: from an inquiry of the engine to an endpoint's
function, and from what that gives, or raises, to a reply.

An endpoint is the same record as those of the control process have, so the OpenAPI document and
the reference say what is done here too. Its function gets a `ClientCall`. What a coroutine waits
for, or one that lacks what policies say, holds up nobody else (`Desk.answer_later`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import Struct, structs

from ocaserve.control.auth import Caller, Guard, Role
from ocaserve.control.bodies import decode_body, inflate
from ocaserve.control.contained_defects import ControlDefects
from ocaserve.control.endpoints import Endpoint
from ocaserve.control.problems import MEDIA_TYPE, Problem, describe_problem
from ocaserve.control.queries import convert_query
from ocaserve.fleet.deciding import Decider
from ocaserve.fleet.originals import Originals
from ocaserve.fleet.verdicts import MOST_ASKS, MissingRulings, ask_policies
from ocaserve.protocol.memo import Memo
from ocaserve.protocol.messages import Fields
from ocaserve.serving.replies import Inquiry, Reply

BODY_BYTES = 8 << 20  # of a question: 2,000 keys of 2,048 characters, of which most are plain
_SMALL_BODY_BYTES = 64 << 10
_ADMITTED_BYTES = 1 << 20

_JSON = b"application/json"
_JSON_LINE = b"Content-Type: application/json\r\n"
_COMMON = b"Server: ocaserve\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
_FOR_PAGES = (b"/play/", b"/v1/steering/", b"/v1/qoe")
_CORS = (
    b"Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: Date, OcaServe-Session\r\n"
    b"Timing-Allow-Origin: *\r\n"
)
_PREFLIGHT = (
    b"Access-Control-Allow-Methods: %b\r\nAccess-Control-Allow-Headers: *\r\n"
    b"Access-Control-Max-Age: 86400\r\n"
)
_encode = msgspec.json.Encoder().encode


class ClientCall(Struct, frozen=True):
    """One request. parts: of the path, those that the endpoint names in braces, decoded.

    body, query: of the types that it names. is_last: it is not asked again, so what policies have
    not said by now is done without.
    """

    desk: Desk
    inquiry: Inquiry
    parts: Sequence[str]
    body: Any = None
    query: Any = None
    is_last: bool = False

    @property
    def decider(self) -> Decider:
        return self.desk.decider

    @property
    def ip(self) -> str:
        """The address that it comes from; no address over a local socket."""
        return self.inquiry.address.decode()

    def check(self, needed: Role) -> None:
        """Raise Problem where the client may not do what needs this role."""
        self.desk.admit(self.inquiry, needed)


@dataclass(frozen=True, slots=True)
class Route:
    """prefix: what stands before the parts, of which there are so many. waits: it takes time.

    fields: of all replies.
    """

    endpoint: Endpoint
    method: bytes
    prefix: bytes
    parts: int
    waits: bool
    fields: bytes

    @classmethod
    def of(cls, endpoint: Endpoint) -> Route:
        path = endpoint.path
        prefix = path.partition("{")[0].encode()
        return cls(
            endpoint,
            endpoint.method.encode(),
            prefix,
            path.count("{"),
            iscoroutinefunction(endpoint.handler),
            _fields_for(prefix),
        )

    def split(self, path: bytes) -> list[str] | None:
        """The parts of a path; the last may hold slashes. None: it is not of this route."""
        if not self.parts:
            return [] if path == self.prefix else None
        if not path.startswith(self.prefix):
            return None
        found = path[len(self.prefix) :].split(b"/", self.parts - 1)
        if len(found) < self.parts or not all(found):
            return None
        return [unquote(each.decode("latin-1"), errors="surrogateescape") for each in found]


class Desk:
    """Answers inquiries by its endpoints. scheme: by which clients reach it.

    defects: of our own code, contained here.
    """

    def __init__(
        self, decider: Decider, guard: Guard, endpoints: Iterable[Endpoint], scheme: str
    ) -> None:
        self.decider = decider
        self.originals = Originals()
        self.scheme = scheme
        self.defects = ControlDefects()
        self._guard = guard
        self._routes = [Route.of(each) for each in endpoints]
        self._admitted: Memo[tuple[Fields, bytes, Role], bool] = Memo(_ADMITTED_BYTES)

    # -- asked by the engine ---------------------------------------------------------------------

    def answer(self, inquiry: Inquiry) -> Reply | None:
        """At once; None where it takes time."""
        return self._answer(inquiry, self._ask_at_once)

    async def answer_later(self, inquiry: Inquiry) -> Reply | None:
        """Likewise of what takes time."""
        waiting: list[tuple[Route, ClientCall]] = []
        reply = self._answer(inquiry, lambda *both: waiting.append(both))
        if not waiting:
            return reply
        ((route, asked),) = waiting
        try:
            return _reply_of(route, await self._ask_patiently(route, asked))
        except Problem as problem:
            return refuse(problem, inquiry)
        except Exception as defect:  # noqa: BLE001 - the border: the others go on
            return self._contain(inquiry, route, defect)

    def body_bytes(self, inquiry: Inquiry) -> int:
        """How much of a body is taken: what nobody wants, or of somebody who may not, is small."""
        path = inquiry.target.partition(b"?")[0]
        for route in self._routes:
            endpoint = route.endpoint
            if endpoint.is_large and route.method == inquiry.method:
                if route.split(path) is None:
                    continue
                try:
                    self.admit(inquiry, endpoint.role)
                except Problem:
                    break
                return BODY_BYTES
        return _SMALL_BODY_BYTES

    def admit(self, inquiry: Inquiry, needed: Role) -> None:
        """Raise Problem where the client may not do what needs this role."""
        if needed is Role.ANYONE:
            return
        asked = inquiry.fields, inquiry.address, needed
        if self._admitted.get(asked) is None:
            self._guard.admit(_caller_of(inquiry), needed)
            self._admitted.keep(asked, True, inquiry.fields.count_bytes())

    # -- how it is answered ----------------------------------------------------------------------

    def _ask_at_once(self, route: Route, asked: ClientCall) -> Any:
        found = None if route.waits else route.endpoint.handler(asked)
        return None if isinstance(found, MissingRulings) else found

    async def _ask_patiently(self, route: Route, asked: ClientCall) -> Any:
        if route.waits:
            return await route.endpoint.handler(asked)
        for _ in range(MOST_ASKS):
            found = route.endpoint.handler(asked)
            if not isinstance(found, MissingRulings):
                return found
            await ask_policies(self.decider.policing, found)
        return route.endpoint.handler(structs.replace(asked, is_last=True))

    def _answer(self, inquiry: Inquiry, ask: Callable[[Route, ClientCall], Any]) -> Reply | None:
        path, _, query = inquiry.target.partition(b"?")
        method = b"GET" if inquiry.method == b"HEAD" else inquiry.method
        allowed = []
        for route in self._routes:
            endpoint = route.endpoint
            parts = route.split(path)
            if parts is None:
                continue
            if route.method != method:
                allowed.append(endpoint.method)
                continue
            try:
                self.admit(inquiry, endpoint.role)
                asked = ClientCall(
                    self,
                    inquiry,
                    parts,
                    _read_body(inquiry, endpoint),
                    _read_query(query, endpoint),
                )
                answer = ask(route, asked)
                return None if answer is None else _reply_of(route, answer)
            except Problem as problem:
                return refuse(problem, inquiry)
            except Exception as defect:  # noqa: BLE001 - the border: the others go on
                return self._contain(inquiry, route, defect)
        return _answer_without(inquiry, allowed)

    def _contain(self, inquiry: Inquiry, route: Route, defect: Exception) -> Reply:
        self.defects.contain(f"{route.endpoint.method} {route.endpoint.path}", defect)
        return refuse(Problem(500, "a defect of the control plane; its log has more"), inquiry)


def _caller_of(inquiry: Inquiry) -> Caller:
    """Who comes from an address of this machine alone has come to one."""
    fields, address = inquiry.fields, inquiry.address.decode()
    is_local = address == "unix"

    def text(value: bytes | None) -> str | None:
        return None if value is None else value.decode("utf-8", "surrogateescape")

    return Caller(
        address="" if is_local else address,
        what=f"{inquiry.method.decode()} {inquiry.target.partition(b'?')[0].decode()}",
        host=(fields.host or b"").decode(),
        is_local=is_local,
        is_near=address.startswith("127.") or address == "::1",
        authorization=text(fields.authorization),
        origin=text(fields.origin),
        fetch_site=text(fields.fetch_site),
    )


# -- reading -------------------------------------------------------------------------------------


def _read_body(inquiry: Inquiry, endpoint: Endpoint) -> Any:
    """Raises Problem."""
    if endpoint.body is None:
        return None
    data, fields = inquiry.body, inquiry.fields
    if data and fields.content_type != _JSON and not _is_json(fields.content_type):
        raise Problem(
            415, "the body must be application/json", headers={"Accept-Post": "application/json"}
        )
    if fields.content_encoding is not None:
        data = _unpack(data, fields.content_encoding, endpoint)
    return decode_body(data, endpoint.body)


def _is_json(content_type: bytes | None) -> bool:
    return (content_type or b"").partition(b";")[0].strip().lower() == _JSON


def _unpack(data: bytes, encoding: bytes, endpoint: Endpoint) -> bytes:
    """Raises Problem."""
    coding = encoding.strip().lower()
    if coding in (b"gzip", b"x-gzip"):
        return inflate(data, BODY_BYTES if endpoint.is_large else _SMALL_BODY_BYTES)
    if coding != b"identity":
        raise Problem(
            415, "the body must be plain or compressed by gzip", headers={"Accept-Encoding": "gzip"}
        )
    return data


def _read_query(query: bytes, endpoint: Endpoint) -> Any:
    """Raises Problem."""
    if endpoint.query is None:
        return None
    if not query:
        return endpoint.query()
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return convert_query(pairs, endpoint.query)


# -- replying ------------------------------------------------------------------------------------


def _fields_for(target: bytes) -> bytes:
    """Of every reply. Scripts of players and pages may read all of theirs, refusals too: without
    that they see but a broken connection.
    """
    return _COMMON + _CORS if target.startswith(_FOR_PAGES) else _COMMON


def _reply_of(route: Route, answer: Any) -> Reply:
    """answer: a shape, or a reply that lacks what all have."""
    fields = route.fields
    if isinstance(answer, Reply):
        return Reply(answer.status, fields + answer.fields, answer.body)
    # The same value as the class would make, in a third of the time.
    return tuple.__new__(Reply, (route.endpoint.status, fields + _JSON_LINE, _encode(answer)))


def refuse(problem: Problem, inquiry: Inquiry) -> Reply:
    """The reply that tells it."""
    lines = [f"{name}: {value}\r\n" for name, value in problem.headers.items()]
    fields = _fields_for(inquiry.target) + "".join(lines).encode()
    fields += b"Content-Type: %b\r\n" % MEDIA_TYPE.encode()
    return Reply(problem.status, fields, _encode(describe_problem(problem)))


def _answer_without(inquiry: Inquiry, allowed: Sequence[str]) -> Reply:
    """To what no endpoint is for: its path, or its method of a path. allowed: those of the path."""
    methods = ", ".join([*allowed, *(["HEAD"] if "GET" in allowed else []), "OPTIONS"])
    if inquiry.method == b"OPTIONS" and (allowed or inquiry.target == b"*"):
        allow = b"Allow: %b\r\n" % methods.encode()
        if inquiry.target.startswith(_FOR_PAGES):
            allow += _PREFLIGHT % methods.encode()
        return Reply(200, _fields_for(inquiry.target) + allow, b"")
    if allowed:
        refusal = Problem(405, f"this path allows {methods}", headers={"Allow": methods})
    else:
        refusal = Problem(
            404, "there is nothing at this path; /v1/openapi.json lists what there is"
        )
    return refuse(refusal, inquiry)
