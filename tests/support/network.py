"""A control plane with appliances of addresses of their own, which hear the clients of loopback."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.support.daemon import Daemon
from tests.support.exabgp_lines import PEER, Exabgp
from tests.support.fleet import FleetProcess
from tests.support.processes import descendants
from tests.support.waiting import eventually

KEY = "ab" * 32
REPORT_S = 1.0
TTL_S = 3.0


class NetworkAppliance:
    """One appliance. It can be killed whole, and begins again at the same address."""

    def __init__(self, folder: Path, name: str, site: str, address: str, extra: str) -> None:
        self.name = name
        self.site = site
        self.address = address
        self.folder = folder
        self.disk = folder / "disk"
        self._extra = extra
        self._daemon: Daemon | None = None

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def prepare(self, content: Path | None, networks: tuple[str, ...]) -> None:
        """Its token, its keys, the routes that it hears, what it holds."""
        self.folder.mkdir()
        if content is not None:
            self.disk.symlink_to(content)
        else:
            self.disk.mkdir()
        for secret, text in (
            ("token", f"token-of-{self.name}-0123456789\n"),
            ("keys.toml", f'"7" = "{KEY}"\n'),
        ):
            (self.folder / secret).write_text(text)
            (self.folder / secret).chmod(0o600)
        exabgp = Exabgp()
        lines = [exabgp.state("connected"), exabgp.state("up"), exabgp.announce(*networks)]
        lines += [exabgp.end_of_rib(family, PEER) for family in (4, 6)]
        (self.folder / "routes.jsonl").write_bytes(b"\n".join(lines) + b"\n")

    def start(self, push_url: str) -> None:
        config = self.folder / "ocaserve.toml"
        config.write_text(
            f'[appliance]\nid = "{self.name}"\nsite = "{self.site}"\nurls = ["{self.url}"]\n'
            f'[serve]\nlisten = ["{self.address}"]\nworkers = 1\naccess_log = "off"\n'
            f'[control]\nlisten = ["unix:{self.folder}/control"]\n'
            f'[bgp]\nlocal_as = 65000\nrecording = "{self.folder}/routes.jsonl"\n'
            'allow_bogons = ["127.0.0.0/8"]\n'
            f'[report]\npush_url = "{push_url}"\ninterval_s = {REPORT_S}\n'
            f'token_file = "{self.folder}/token"\n'
            "[health]\nrise_s = 3600\n"  # the machine of a test may be as busy as it likes
            f'[[store]]\npath = "{self.disk}"\n'
            + self._extra.format(folder=self.folder, name=self.name, fleet=push_url.split("/v1")[0])
        )
        self._daemon = Daemon.start(["serve", "-c", str(config)], self.folder / "log")

    def kill(self) -> None:
        """With all its processes, at once, as a power cut would."""
        if self._daemon is None:
            return
        for pid in (self._daemon.pid, *descendants(self._daemon.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._daemon.process.wait()
        self._daemon.stop()
        self._daemon = None


class Network:
    """The control plane, and the appliances by their names."""

    def __init__(self, fleet: FleetProcess, appliances: Mapping[str, NetworkAppliance]) -> None:
        self.fleet = fleet
        self.appliances = appliances
        self.push_url = f"http://{fleet.operators}/v1/reports"

    def kill(self, name: str) -> None:
        self.appliances[name].kill()

    def start(self, name: str) -> None:
        self.appliances[name].start(self.push_url)


@contextmanager
def network(
    folder: Path,
    networks: Mapping[str, tuple[str, ...]],
    *,
    content: Path | None = None,
    fleet_toml: str = "",
    is_signed: bool = True,
    site: str = "",
    extra: str = "",
) -> Iterator[Network]:
    """Running until the block ends. networks: by appliance, which it hears.

    content: a folder that all serve; each its own where there is none. site: of all; each its own
    where there is none. extra: of their settings, with {name}, {folder} and {fleet}, its URL.
    """
    port = free_port_of_all(len(networks))
    signing = '[signing]\nkeys_file = "{folder}/keys.toml"\n' if is_signed else ""
    appliances = {}
    tables = f"report_ttl_s = {TTL_S}\n{fleet_toml}"
    for place, (name, heard) in enumerate(networks.items(), 2):
        own = folder / name
        appliance = NetworkAppliance(
            own, name, site or f"site-{name}", f"127.0.0.{place}:{port}", signing + extra
        )
        appliance.prepare(content, heard)
        appliances[name] = appliance
        tables += f'[[fleet.appliance]]\nid = "{name}"\ntoken_file = "{name}/token"\n'
        tables += f'site = "{site}"\n' if site else ""
        if is_signed:
            tables += f'signing_keys_file = "{name}/keys.toml"\n'
    with ExitStack() as stack:
        fleet = stack.enter_context(FleetProcess.running(folder, tables))
        made = Network(fleet, appliances)
        for name, appliance in appliances.items():
            stack.callback(appliance.kill)
            made.start(name)
        eventually(lambda: fleet.taking() == set(appliances), "all take clients")
        yield made


def free_port_of_all(count: int) -> int:
    """A port that is free at 127.0.0.2 and those after it: players replace no port."""
    while True:
        with ExitStack() as stack:
            port = 0
            try:
                for place in range(2, 2 + count):
                    held = stack.enter_context(socket.create_server((f"127.0.0.{place}", port)))
                    port = held.getsockname()[1]
            except OSError:
                continue
            return port
