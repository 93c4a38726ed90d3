"""`ocaserve fleet serve`: supervisor, workers that answer clients, and the control process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ocaserve.fleet.client_worker import make_client_answerer
from ocaserve.fleet.grant_sheet import GrantSheet
from ocaserve.fleet.pictures import NOTES
from ocaserve.fleet.process import fleet_service
from ocaserve.runtime import make_runtime_folder, remove_runtime_folder
from ocaserve.serving.counters import COUNTERS, GAUGES
from ocaserve.serving.tls_contexts import TlsHeritage
from ocaserve.serving.worker import run_worker
from ocaserve.settings.control_plane import ControlPlane, control_plane_of
from ocaserve.settings.fleet import load_fleet, read_fleet_tokens
from ocaserve.settings.fleet_members import read_appliance_key
from ocaserve.supervisor import Supervisor, count_slots

_FOLDER = "OCASERVE_FLEET_RUN"  # of the environment: a new version shows clients what we know


def serve_fleet(config: str | None, arguments: Sequence[str], ready_fd: int | None) -> None:
    """Run the control plane until it is told to stop. Raises OcaserveError and OSError.

    arguments: the command line, for a new version. ready_fd: see `Supervisor`.
    """
    heritage = TlsHeritage()

    def load() -> tuple[ControlPlane, Sequence[str]]:
        fleet = load_fleet(config)
        read_fleet_tokens(fleet)
        for each in fleet.appliance:  # workers would not start
            read_appliance_key(each)
        settings = control_plane_of(fleet, config or "")
        heritage.prepare(settings.tls)
        return settings, ()

    settings, _ = load()
    folder = _find_folder()
    try:
        sheet = GrantSheet(count_slots(settings))
        answer = partial(make_client_answerer, folder=folder, sheet=sheet)
        supervisor = Supervisor(
            settings,
            partial(run_worker, heritage=heritage, make_answerer=answer),
            names=(COUNTERS, GAUGES),
            services=(fleet_service(folder, sheet),),
            load=load,
            arguments=arguments,
            ready_fd=ready_fd,
        )
        supervisor.run()
    except BaseException:
        remove_runtime_folder(folder)
        raise
    if not supervisor.is_succeeded:
        remove_runtime_folder(folder)


def _find_folder() -> Path:
    """For what outlives the processes of the run, and not the run; that of the version before."""
    found = os.environ.get(_FOLDER)
    folder = Path(found) if found and os.path.isdir(found) else make_runtime_folder(os.environ)
    (folder / NOTES).mkdir(mode=0o700, exist_ok=True)
    os.environ[_FOLDER] = str(folder)
    return folder
