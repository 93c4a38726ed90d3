"""The control process: its loop, its sockets, its word with the supervisor."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from aiohttp import web

from ocaserve.addresses import Address
from ocaserve.control.app import build_app
from ocaserve.control.auth import Guard
from ocaserve.control.link import Link
from ocaserve.control.listening import listening
from ocaserve.control.local_token import publish_token, withdraw_token
from ocaserve.control.operations import recall_intent, state_file_in
from ocaserve.control.state import ControlState
from ocaserve.runtime import find_state_folder
from ocaserve.settings import Tokens
from ocaserve.settings.control import read_tokens
from ocaserve.supervisor.service import Given, Service

_log = logging.getLogger(__name__)

_IGNORED_SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
"""The supervisor decides what they mean, and says so over the channel."""
_LOOK_EVERY_S = 1.0
_SWITCH_S = 0.0005  # a tenth of what Python begins with
_SIGHT_S = 2.0  # for the supervisor to show the appliance, which it does at once
_SHUTDOWN_S = 1.0  # for running requests, when it is replaced or the appliance stops


def control_service() -> Service:
    """What the supervisor is to know. Any change of settings replaces it: it shows them all."""
    return Service(
        "control",
        run_control,
        depends_on=lambda settings: settings if settings.control.listen else None,
        listen=lambda settings: settings.control.listen,
    )


def run_control(given: Given) -> int:
    """Answer until told to stop; returns the exit status."""
    for ignored in _IGNORED_SIGNALS:
        signal.signal(ignored, signal.SIG_IGN)
    tokens = read_tokens(given.settings.control)
    addresses = list(given.listeners)
    token = _make_local_token(tokens, addresses)
    try:
        with asyncio.Runner() as runner:
            runner.run(_serve(given, Guard(tokens, token)))
    finally:
        withdraw_token(os.environ, addresses, token)
    return 0


def share_the_interpreter() -> None:
    """Let nothing hold the event loop for longer than it must.

    A thread that makes a report gives way after the switch interval, and answering a request takes
    the interpreter back several times. What was made at the start is not for the collector to walk
    through again and again.
    """
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()


def _make_local_token(tokens: Tokens, addresses: list[Address]) -> str:
    if tokens.read or tokens.operate:
        return ""
    try:
        return publish_token(os.environ, addresses)
    except OSError as error:
        _log.warning("control: no token for local commands, nothing can be changed: %s", error)
        return ""


async def _serve(given: Given, guard: Guard) -> None:
    link = Link(given.channel)
    settings = given.settings
    state_folder = find_state_folder(settings.appliance.state_directory, os.environ)
    state_file = state_file_in(state_folder)
    intent = recall_intent(given.notes, state_file)
    state = ControlState(
        settings, given.counters, link, given.folder, guard, intent, state_file, given.notes
    )
    is_over, has_seen = asyncio.Event(), asyncio.Event()

    def obey(order: dict[str, Any]) -> None:
        _obey(order, state, is_over)
        has_seen.set()

    loop = asyncio.get_running_loop()
    link.open(loop, obey, is_over.set)
    # A successor must not say that the appliance starts: that is for clients to go elsewhere.
    with suppress(TimeoutError):
        await asyncio.wait_for(has_seen.wait(), _SIGHT_S)
    runner = web.AppRunner(build_app(state), access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    async with listening(runner, given.listeners, settings.control):
        share_the_interpreter()
        link.tell_ready(loop)
        looking = asyncio.create_task(_look_again_and_again(state))
        await is_over.wait()
        looking.cancel()
    await runner.cleanup()


def _obey(order: dict[str, Any], state: ControlState, is_over: asyncio.Event) -> None:
    match order["do"]:
        case "see":
            state.see(order["appliance"])
        case "stop":
            is_over.set()
        case "reopen_logs":  # it writes none
            pass
        case unknown:
            _log.error("control: unknown order %r", unknown)


async def _look_again_and_again(state: ControlState) -> None:
    while True:
        try:
            state.look()
        except Exception:  # noqa: BLE001 - the next look may succeed, and a drain must end
            _log.exception("control: looking after the appliance failed")
        await asyncio.sleep(_LOOK_EVERY_S)
