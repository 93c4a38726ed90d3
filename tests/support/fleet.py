"""A running control plane, and asking it."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ocaserve.fleet.tables import Network, Rank, Table

START_S = 20.0


class Answer(NamedTuple):
    """Of one call. `headers` in lower case."""

    status: int
    headers: dict[str, str]
    body: Any


class FleetProcess:
    """`operators` and `clients`: where it answers."""

    def __init__(self, process: subprocess.Popen[bytes], facts: dict[str, Any]) -> None:
        self.process = process
        self.operators = facts["services"]["control"][0]
        self.clients = facts["listen"][0]

    @classmethod
    @contextmanager
    def running(
        cls,
        folder: Path,
        toml: str = "",
        listen: str = "",
        under: Sequence[str] = (),
        state: str = "",
        workers: int = 1,
    ) -> Iterator[FleetProcess]:
        """With this configuration, on free ports, until the block ends. listen: of operators.

        under: the command that it is run by. state: in place of a file of the folder.
        """
        config = folder / "fleet.toml"
        config.write_text(
            f'[fleet]\nworkers = {workers}\nclients = ["127.0.0.1:0"]\n'
            f'listen = ["{listen or "127.0.0.1:0"}"]\n'
            f'state = "{state or f"sqlite://{folder}/fleet.db"}"\n{toml}'
        )
        pipe_in, pipe_out = os.pipe()
        with (folder / "fleet.log").open("ab") as log:
            process = subprocess.Popen(
                [*under, sys.executable, "-m", "ocaserve", "fleet", "serve", "-c", str(config),
                 "--ready-fd", str(pipe_out)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(pipe_out,),
            )  # fmt: skip
        os.close(pipe_out)
        try:
            with os.fdopen(pipe_in) as ready:
                line = ready.readline()
            assert line, (folder / "fleet.log").read_text()
            yield cls(process, json.loads(line))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(START_S)

    def get(self, path: str, where: str = "", **headers: str) -> Answer:
        """Of operators, or where it is said."""
        return call(where or self.operators, "GET", path, None, headers)

    def post(self, path: str, body: object, where: str = "", **headers: str) -> Answer:
        """JSON; bytes are sent as they are."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Content-Type": "application/json", **headers}
        return call(where or self.operators, "POST", path, data, given)

    def steer(self, ip: str, *objects: str) -> Any:
        """What is answered for a client."""
        asked = {"client": {"ip": ip}, "objects": list(objects)}
        answer = self.post("/v1/steer", asked, self.clients)
        assert answer.status == 200, answer.body
        return answer.body

    def servers(self, ip: str = "11.1.1.1") -> set[str]:
        """Who may serve a client, of some objects."""
        found = self.steer(ip, *(f"film-{number}.mp4" for number in range(12)))
        return {each["id"] for each in found["servers"]}

    def taking(self) -> set[str]:
        """The appliances that get clients."""
        rows = self.get("/v1/appliances").body["appliances"]
        return {each["id"] for each in rows if each["takes_clients"]}


def call(where: str, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
    host, _, port = where.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read()
        fields = {name.lower(): value for name, value in response.getheaders()}
        is_json = "json" in fields.get("content-type", "")
        return Answer(response.status, fields, json.loads(data) if is_json else data)
    finally:
        connection.close()


def report(
    appliance: str,
    networks: dict[str, tuple[int, int]],
    *,
    site: str = "lab",
    session: str = "s1",
    serial: int = 1,
    after: int | None = None,
    gone: tuple[str, ...] = (),
    health: dict[str, Any] | None = None,
    capacity: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A report, or with `after` changes, as an appliance makes them; a path of so many ASes."""
    ranks = sorted(set(networks.values()))
    return {
        "schema": "ocaserve.report/1",
        "kind": "report" if after is None else "changes",
        "appliance": appliance,
        "site": site,
        "session": session,
        "serial": serial,
        **({} if after is None else {"after": after}),
        "as_of": 1.0,
        "digest": "",
        "complete": True,
        "health": health or {"state": "serving", "takes_traffic": True, "level": "ok"},
        "capacity": capacity or {"total_bits_per_s": 10**10, "free_bits_per_s": 10**10},
        "routes": {
            **{
                text: [{"peer": 1, "attributes": ranks.index(rank) + 1 + serial * 100}]
                for text, rank in networks.items()
            },
            **{text: [] for text in gone},
        },
        "attributes": {
            str(place + 1 + serial * 100): {"as_path": list(range(length)), "med": med}
            for place, (length, med) in enumerate(ranks)
        },
    }


def packed(document: object) -> bytes:
    """As it is pushed."""
    return gzip.compress(json.dumps(document).encode())


def by_text(table: Table) -> dict[str, Rank]:
    """The rank of each network."""
    return {
        str(Network(family, code)): rank
        for family, ranks in table.routes.items()
        for code, rank in ranks.items()
    }
