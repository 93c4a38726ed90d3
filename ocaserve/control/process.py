"""The control process: its loop, its sockets, its word with the supervisor."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import web

from ocaserve.addresses import Address
from ocaserve.channel import Order, ReopenLogs, See, Stop
from ocaserve.control.api_sockets import listening
from ocaserve.control.auth import Guard
from ocaserve.control.contained_defects import ControlDefects
from ocaserve.control.endpoints import DEFECTS
from ocaserve.control.local_token import choose_token, publish_token, withdraw_token
from ocaserve.control.operations import recall_intent, state_file_in
from ocaserve.control.state import ControlState
from ocaserve.control.wiring import build_app
from ocaserve.errors import SettingsError
from ocaserve.link import Link
from ocaserve.logs import flush_log
from ocaserve.runtime import find_state_folder
from ocaserve.settings import Control, Tokens
from ocaserve.settings.control import read_tokens
from ocaserve.supervisor.service import Given, Service, leave_signals

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_PUBLISH_AGAIN_S = 2.0
_FIRST_LOOKS_S = 0.25
_SWITCH_S = 0.0005  # a tenth of what Python begins with
_SIGHT_S = 2.0  # for the supervisor to show the appliance, which it does at once
_LINE_BYTES = 16 << 10  # the longest parameters, each character as twelve
_LINGER_S = 1.0  # for a body that nobody reads, so that its sender hears why
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
    leave_signals()
    tokens = _find_tokens(given.settings.control)
    addresses = list(given.listeners)
    token = "" if tokens.read or tokens.operate else choose_token(os.environ, addresses)
    is_replaced = False
    try:
        with asyncio.Runner(loop_factory=choose_loop(given.settings.serve.loop)) as runner:
            is_replaced = runner.run(_serve(given, Guard(tokens, token), token))
    finally:
        if not is_replaced:
            withdraw_token(os.environ, addresses, token)
    return 0


def _find_tokens(control: Control) -> Tokens:
    """Those that are configured. While their file cannot be read, one that nobody has."""
    try:
        return read_tokens(control)
    except SettingsError as error:
        _log.error("control: nobody can show a token until it is replaced: %s", error)
        return Tokens(operate=[secrets.token_urlsafe(32)])


def choose_loop(choice: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is, whose transports cost half of asyncio's; None for asyncio's."""
    if choice == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def share_the_interpreter() -> None:
    """Let nothing hold the event loop for longer than it must.

    A thread that makes a report gives way after the switch interval, and answering a request takes
    the interpreter back several times. What was made at the start is not for the collector to walk
    through again and again.
    """
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()


async def _publish_at_last(addresses: list[Address], token: str) -> None:
    """Leave the token where commands find it, tried again until it can be."""
    told = ""
    while True:
        try:
            publish_token(os.environ, addresses, token)
        except OSError as error:
            if str(error) != told:
                _log.warning("control: commands find no token, tried again: %s", error)
            told = str(error)
            await asyncio.sleep(_PUBLISH_AGAIN_S)
        else:
            return


async def _serve(given: Given, guard: Guard, token: str) -> bool:
    """Returns whether another process is to follow. token: for local commands, or empty."""
    addresses = list(given.listeners) if token else []
    publishing = asyncio.create_task(_publish_at_last(addresses, token))
    await asyncio.sleep(0)  # so that it is there before anybody is answered, where it can be
    link = Link(given.channel)
    settings = given.settings
    state_folder = find_state_folder(settings.appliance.state_directory, os.environ)
    state_file = state_file_in(state_folder)
    intent = recall_intent(given.notes, state_file)
    state = ControlState(
        settings, given.counters, link, given.folder, guard, intent, state_file, given.notes
    )
    is_over, has_seen = asyncio.Event(), asyncio.Event()
    is_replaced = False

    def obey(order: Order) -> None:
        nonlocal is_replaced
        if isinstance(order, Stop):
            is_replaced = order.is_replaced
        obey_order(order, state.see, is_over)
        has_seen.set()

    loop = asyncio.get_running_loop()
    link.open(loop, obey, is_over.set)
    # A successor must not say that the appliance starts: that is for clients to go elsewhere.
    with suppress(TimeoutError):
        await asyncio.wait_for(has_seen.wait(), _SIGHT_S)
    runner = web.AppRunner(
        app := build_app(state),
        access_log=None,
        shutdown_timeout=_SHUTDOWN_S,
        handler_cancellation=True,  # who has gone must not hold a place
        lingering_time=_LINGER_S,
        auto_decompress=False,
        max_line_size=_LINE_BYTES,
    )
    await runner.setup()
    async with listening(runner, given.listeners, settings.control):
        share_the_interpreter()
        link.tell_ready(loop)
        looking = asyncio.create_task(_look_again_and_again(state, app[DEFECTS]))
        await is_over.wait()
        looking.cancel()
        publishing.cancel()
    await runner.cleanup()
    return is_replaced


def obey_order(order: Order, see: Callable[[Any], None], is_over: asyncio.Event) -> None:
    """What the supervisor tells a process that serves operators. see: shows it the appliance."""
    match order:
        case See(appliance):
            see(appliance)
        case Stop():
            is_over.set()
        case ReopenLogs():  # it writes none
            pass
        case _:
            _log.error("control: %r is an order for workers", order)


async def _look_again_and_again(state: ControlState, defects: ControlDefects) -> None:
    while True:
        try:
            state.look()
        except Exception as defect:  # noqa: BLE001 - the next may succeed, and a drain must end
            defects.contain("looking", defect)
        flush_log()
        # What must have been read once is there in a moment, and balancers wait for it.
        await asyncio.sleep(_FIRST_LOOKS_S if state.word == "starting" else _LOOK_EVERY_S)
