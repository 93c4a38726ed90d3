"""The endpoints by which policies are handed in, tried, put in force and rolled back."""

from __future__ import annotations

import msgspec
from aiohttp import web

from ocaserve.control.auth import Role
from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.handlers.dashboard import page_part
from ocaserve.control.problems import Problem
from ocaserve.fleet.policy_checks import PolicyCheck
from ocaserve.fleet.policy_office import PolicyOffice
from ocaserve.fleet.policy_shapes import (
    CanaryRequest,
    CheckRequest,
    HandInRequest,
    PolicyLog,
    PolicyNoteShown,
    PolicyOverview,
    PromoteRequest,
    ReleaseDetail,
    ReleaseShown,
    RollBackRequest,
    ShadowRequest,
)
from ocaserve.fleet.policy_showing import show_overview, show_release
from ocaserve.fleet.policy_storing import PolicyStoreError
from ocaserve.policies.bundles import BundleError, make_bundle
from ocaserve.policies.lives import PolicyEvent
from ocaserve.policies.releases import ReleaseError
from ocaserve.policies.runner import MISSING, can_run_policies

OFFICE: web.AppKey[PolicyOffice] = web.AppKey("OFFICE", PolicyOffice)


def _office(call: Call) -> PolicyOffice:
    return call.request.app[OFFICE]


def _number(call: Call) -> int:
    try:
        return int(call.path["release"])
    except ValueError:
        raise Problem(404, f"{call.path['release'][:40]!r} is no number of a release") from None


def _away(error: PolicyStoreError) -> Problem:
    return Problem(503, f"nothing is changed: {error}")


async def hand_in(call: Call) -> ReleaseShown:
    """A draft: it changes nothing yet."""
    if not can_run_policies():
        raise Problem(501, MISSING)
    asked: HandInRequest = call.body
    names = [each.name for each in asked.policies]
    if len(set(names)) < len(names):
        raise Problem(422, "the body: policies: each may stand once")
    try:
        bundles = [make_bundle(each.name, each.files) for each in asked.policies]
        return show_release(await _office(call).hand_in(bundles, asked.by, asked.note))
    except BundleError as error:
        raise Problem(422, f"the body: {error}") from error
    except PolicyStoreError as error:
        raise _away(error) from error


async def check(call: Call) -> PolicyCheck:
    """Checked, if it has no faults."""
    try:
        return await _office(call).check(_number(call), call.body.by)
    except ReleaseError as error:
        raise Problem(409, str(error)) from error
    except PolicyStoreError as error:
        raise _away(error) from error


async def shadow(call: Call) -> ReleaseShown:
    return await _step(call, PolicyEvent.SHADOW, seconds=call.body.seconds)


async def try_canary(call: Call) -> ReleaseShown:
    asked: CanaryRequest = call.body
    return await _step(call, PolicyEvent.CANARY, seconds=asked.seconds, share=asked.share)


async def promote(call: Call) -> ReleaseShown:
    return await _step(call, PolicyEvent.PROMOTE)


async def roll_back(call: Call) -> ReleaseShown:
    return await _step(call, PolicyEvent.ROLL_BACK, why=call.body.reason)


async def _step(
    call: Call, event: PolicyEvent, *, why: str = "", seconds: float = 0.0, share: float = 0.0
) -> ReleaseShown:
    office, number = _office(call), _number(call)
    try:
        return show_release(
            await office.step(number, event, by=call.body.by, why=why, seconds=seconds, share=share)
        )
    except ReleaseError as error:
        raise Problem(409, str(error)) from error
    except PolicyStoreError as error:
        raise _away(error) from error


async def list_policies(call: Call) -> PolicyOverview:
    return show_overview(_office(call))


async def show_one(call: Call) -> ReleaseDetail:
    office, number = _office(call), _number(call)
    try:
        release = office.book.find(number)
    except ReleaseError as error:
        raise Problem(404, str(error)) from error
    texts = {
        name: dict(office.texts[version].files)
        for name, version in release.policies.items()
        if version in office.texts
    }
    found = office.checks.get(number)
    return ReleaseDetail(
        release=show_release(release), texts=texts, faults=[] if found is None else found.faults
    )


async def show_log(call: Call) -> PolicyLog:
    notes = reversed(_office(call).book.notes)
    return PolicyLog(
        notes=[
            PolicyNoteShown(**{**msgspec.structs.asdict(each), "state": each.state.value})
            for each in notes
        ]
    )


def _changes(path: str, handler: object, summary: str, answer: object, body: object) -> Endpoint:
    return Endpoint(
        "POST", f"/v1/policies/{{release}}/{path}", handler, summary, answer,  # type: ignore[arg-type]
        body=body, role=Role.OPERATE, refuses=(409, 503),  # type: ignore[arg-type]
    )  # fmt: skip


ENDPOINTS = (
    page_part("/policies", "policies.html", "text/html", "ocaserve.fleet"),
    page_part("/dashboard/policies.js", "policies.js", "text/javascript", "ocaserve.fleet"),
    Endpoint(
        "POST", "/v1/policies", hand_in, "Hand policies in, as a release of their own",
        ReleaseShown, status=201, body=HandInRequest, role=Role.OPERATE, is_large=True,
        refuses=(422, 501, 503),
    ),
    Endpoint("GET", "/v1/policies", list_policies, "All in force and on trial", PolicyOverview),
    Endpoint("GET", "/v1/policies/log", show_log, "Who did what to which release", PolicyLog),
    Endpoint(
        "GET", "/v1/policies/{release}", show_one, "A release, with its texts",
        ReleaseDetail, refuses=(404,),
    ),
    _changes("check", check, "Find the faults of a release", PolicyCheck, CheckRequest),
    _changes("shadow", shadow, "Ask it beside what is in force", ReleaseShown, ShadowRequest),
    _changes("canary", try_canary, "In force for some clients", ReleaseShown, CanaryRequest),
    _changes("promote", promote, "In force for all clients", ReleaseShown, PromoteRequest),
    _changes("rollback", roll_back, "Back to what was before", ReleaseShown, RollBackRequest),
)  # fmt: skip
