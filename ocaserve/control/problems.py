"""How a refusal looks: problem details (RFC 9457), whoever refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

MEDIA_TYPE = "application/problem+json"


class ProblemDetails(Struct, frozen=True, kw_only=True):
    """RFC 9457 section 3.1. `type` is about:blank: the status says what kind of problem it is."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    faults: list[str] | UnsetType = UNSET


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """Raised by a handler, to be answered. `detail` is for a person, in one sentence.

    faults: where there are several, a line for each. headers: further fields of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        faults: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.faults = tuple(faults)
        self.headers = dict(headers or {})


def describe_problem(problem: Problem) -> ProblemDetails:
    """What tells it."""
    return ProblemDetails(
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=problem.detail,
        faults=list(problem.faults) or UNSET,
    )


def answer_problem(problem: Problem) -> web.Response:
    """The response that tells it."""
    return web.Response(
        status=problem.status,
        body=msgspec.json.encode(describe_problem(problem)),
        content_type=MEDIA_TYPE,
        headers=problem.headers,
    )


def problem_from_aiohttp(error: web.HTTPException) -> Problem:
    """What aiohttp itself refuses: no such path, another method, a body that is too large."""
    kept = {name: error.headers[name] for name in ("Allow", "Location") if name in error.headers}
    details = {
        404: "there is nothing at this path; /v1/openapi.json lists what there is",
        405: f"this path allows {kept.get('Allow', 'other methods')}",
        413: "the body is larger than control.body_bytes",
    }
    return Problem(error.status, details.get(error.status, error.reason), headers=kept)
