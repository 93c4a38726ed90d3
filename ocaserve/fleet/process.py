"""The control process of the control plane: its loop, its sockets, its word with the supervisor."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from ocaserve.addresses import Address
from ocaserve.bills.from_settings import open_ledger
from ocaserve.channel import Order
from ocaserve.control.api_sockets import listening
from ocaserve.control.local_token import choose_token, publish_token, withdraw_token
from ocaserve.control.process import choose_loop, obey_order, share_the_interpreter
from ocaserve.control.state import Appliance
from ocaserve.fleet.app import build_operators, keep_now, recall
from ocaserve.fleet.grant_sheet import GrantSheet
from ocaserve.fleet.keeping import Keeper
from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.policy_storing import choose_policy_store
from ocaserve.fleet.publishing import Publisher
from ocaserve.fleet.shared_state import SharedState
from ocaserve.link import Link
from ocaserve.logs import flush_log
from ocaserve.runtime import find_state_folder
from ocaserve.settings.control_plane import ControlPlane
from ocaserve.settings.fleet import Fleet, FleetTokens, read_fleet_tokens, shared_url, state_file
from ocaserve.supervisor.service import Given, Service, leave_signals

_log = logging.getLogger(__name__)

_SHUTDOWN_S = 1.0
_LINE_BYTES = 16 << 10
_LINGER_S = 1.0
_FLUSH_EVERY_S = 1.0
KEPT_FOR_THE_RUN = ".fleet.db"  # in the folder of pictures, which removes what it does not name


def fleet_service(folder: Path, sheet: GrantSheet) -> Service:
    """What the supervisor is to know. folder: of the run; sheet: that workers share."""
    return Service(
        "control",
        lambda given: run_fleet(given, folder, sheet),
        depends_on=lambda settings: fleet_of(settings),
        listen=lambda settings: fleet_of(settings).listen,
    )


def fleet_of(settings: object) -> Fleet:
    assert isinstance(settings, ControlPlane), "the supervisor has those of the control plane"
    return settings.fleet


_GC_THRESHOLDS = (50_000, 20, 20)
"""A report of a full table makes 100,000 objects that go as they came, and none in a circle: to
look at the young ones after each 700 takes as long as reading them."""


def run_fleet(given: Given, folder: Path, sheet: GrantSheet) -> int:
    """Answer operators and appliances until told to stop; returns the exit status."""
    leave_signals()
    gc.set_threshold(*_GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=choose_loop("auto")) as runner:
        runner.run(_serve(given, folder, sheet))
    return 0


async def _serve(given: Given, folder: Path, sheet: GrantSheet) -> None:
    settings = fleet_of(given.settings)
    state, tokens = FleetState(settings), read_fleet_tokens(settings)
    url = shared_url(settings.state)
    shared = SharedState(url, state) if url else None
    file = None if shared else find_state_file(settings.state, os.environ)
    # What is kept in memory alone outlives this process, and ends with the run.
    keeper = Keeper(file or folder / KEPT_FOR_THE_RUN) if shared is None else None
    ledger = open_ledger(settings, file)
    publisher = Publisher(state, folder, sheet)
    if keeper is not None:
        recall(state, keeper, publisher.find_shown())
    is_over = asyncio.Event()
    link = Link(given.channel)

    def see(appliance: dict[str, Any]) -> None:
        seen = msgspec.convert(appliance, Appliance)
        publisher.shares.rows = [each.slot for each in seen.workers if each.state == "serving"]

    def obey(order: Order) -> None:
        obey_order(order, see, is_over)

    loop = asyncio.get_running_loop()
    link.open(loop, obey, is_over.set)
    async with AsyncExitStack() as stack:
        popularity_file = file.with_name(f"{file.stem}-popularity.json") if file else None
        if shared is not None:
            stack.push_async_callback(shared.close)
        if ledger is not None:
            stack.callback(ledger.close)
        local_token = stack.enter_context(_local_token(list(given.listeners), tokens))
        policies = choose_policy_store(url, file)
        app = build_operators(
            state,
            tokens,
            local_token,
            popularity_file,
            shared,
            keeper,
            publisher,
            ledger,
            policies,
            given.counters,
        )
        runner = _runner_of(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        control = settings.control([], tokens.roles)
        await stack.enter_async_context(listening(runner, given.listeners, control))
        share_the_interpreter()
        link.tell_ready(loop)
        _log.info(
            "serving operators and appliances on %s; state %s",
            ", ".join(address.url for address in given.listeners),
            f"kept in {file}" if file else "shared" if shared else "in memory alone",
        )
        flushing = asyncio.create_task(_flush_again_and_again())
        await is_over.wait()
        flushing.cancel()
    if keeper is not None:
        await keep_now(state, keeper, is_last=True)


@contextmanager
def _local_token(addresses: list[Address], tokens: FleetTokens) -> Iterator[str]:
    """One for commands on this machine, where the operator has configured none."""
    if tokens.read or tokens.operate:
        yield ""
        return
    token = choose_token(os.environ, addresses)
    try:
        publish_token(os.environ, addresses, token)
    except OSError as error:
        _log.warning("fleet: commands on this machine need a token from a file: %s", error)
    try:
        yield token
    finally:
        withdraw_token(os.environ, addresses, token)


def find_state_file(given: str, environment: Mapping[str, str]) -> Path | None:
    """Of `fleet.state`, else in the folder for what outlives a restart; None for memory alone."""
    if given == "memory":
        return None
    if named := state_file(given):
        return Path(named)
    folder = find_state_folder("", environment) or _own_state_folder(environment)
    return folder / "fleet.db" if folder else None


def _own_state_folder(environment: Mapping[str, str]) -> Path | None:
    """The user's own, as the XDG Base Directory Specification has it."""
    given, home = environment.get("XDG_STATE_HOME", ""), environment.get("HOME", "")
    if given.startswith("/"):
        return Path(given, "ocaserve")
    return Path(home, ".local/state/ocaserve") if home.startswith("/") else None


def _runner_of(app: web.Application) -> web.AppRunner:
    return web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=_SHUTDOWN_S,
        handler_cancellation=True,
        lingering_time=_LINGER_S,
        auto_decompress=False,
        max_line_size=_LINE_BYTES,
    )


async def _flush_again_and_again() -> None:
    while True:
        await asyncio.sleep(_FLUSH_EVERY_S)
        flush_log()
