"""What tables and the atlas of them take: `python -m benchmarks.fleet.tables`.

In one process, as in the control process: tables are told route by route, an atlas is drawn of all,
and another one after one route has changed. Then a control plane begins with these tables, as one
does that was away: what it takes with its workers, and how long it is from a report of a route to
answers that know it.
"""

from __future__ import annotations

import json
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import click

from benchmarks.errors import LoadFailure
from benchmarks.fleet.control_plane import ControlPlane
from benchmarks.fleet.ports import find_free_ports
from bgp.prefixes import format_prefix
from ocaserve.fleet.atlas import Atlas
from ocaserve.fleet.keeping import Keeper, Kept, KeptAppliance
from ocaserve.fleet.pushed_documents import SCHEMA, CapacityRow, Copy, HealthRow, PlaceRow
from ocaserve.fleet.survey import Survey
from ocaserve.fleet.tables import NO_ROUTES, Rank, Table, Tables

_WITHIN = 16  # of so many networks one, a /20, covers the others
_IN_A_GROUP = 7  # routes with the same attributes
_FIRST = 1 << 16  # 1.0.0.0/24
_SESSION = "s1"
_TIMES = 7  # a route is told, and waited for in answers
_WAIT_S = 120.0


def network(number: int) -> str:
    """All of them are others."""
    if number % _WITHIN:
        return format_prefix(4, 24, _FIRST + number)
    return format_prefix(4, 20, (_FIRST + number) // _WITHIN)


def routes(first: int, count: int, prefixes: int) -> Iterator[tuple[str, Rank]]:
    """Of one table: neighbours, as a provider's are; tables overlap."""
    for place in range(count):
        yield network((first + place) % prefixes), Rank(1 + place // _IN_A_GROUP % 5, 0)


def tell(what: str, begun: float) -> None:
    status = Path("/proc/self/status").read_text()
    now = int(status.partition("VmRSS:")[2].split()[0]) >> 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    click.echo(f"{what}: {time.process_time() - begun:.1f} s of CPU; {now} MiB, at most {peak}")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--prefixes", default=1_000_000, show_default=True, type=click.IntRange(1_000))
@click.option("--tables", default=3_000, show_default=True, type=click.IntRange(1))
@click.option("--each", default=1_500, show_default=True, type=click.IntRange(10),
              help="Routes of a table.")  # fmt: skip
def main(prefixes: int, tables: int, each: int) -> None:
    """Measure time and memory of so many tables."""
    interned, survey = Tables(), Survey()
    begun = time.process_time()
    known = {
        f"oca-{number}": interned.change(
            NO_ROUTES, routes(number * prefixes // tables, each, prefixes)
        )
        for number in range(tables)
    }
    tell(f"{tables:,} tables of {each:,} routes", begun)
    begun = time.process_time()
    image = survey.draw(known)
    tell(f"an atlas of {len(Atlas(image)):,} networks, {len(image) >> 20} MiB", begun)
    begun = time.process_time()
    known["oca-0"] = interned.change(known["oca-0"], [(network(1), Rank(9, 9))])
    survey.draw(known)
    tell("another one, after a change of one route", begun)
    with tempfile.TemporaryDirectory(prefix="benchmarks-fleet-") as scratch:
        serve(known, prefixes, Path(scratch))


# -- a control plane with these ------------------------------------------------------------------


def serve(known: Mapping[str, Table], prefixes: int, scratch: Path) -> None:
    """Begin with them, and tell changes. Raises LoadFailure."""
    operators, clients = find_free_ports(2)
    plane = ControlPlane(scratch / "plane", (operators, clients), "report_ttl_s = 3600\n")
    kept = [KeptAppliance(copy_of(name, table), time.time()) for name, table in known.items()]
    Keeper(plane.folder / "fleet.db").save(Kept(kept, [], time.time()), ())
    begun = time.monotonic()
    try:
        plane.start()
        wait_for(clients, network(prefixes // 2), "")
        took_s = time.monotonic() - begun
        time.sleep(2 * took_s)  # what it has to do at first is over
        cost = plane.cost()
        click.echo(
            f"a control plane with {len(plane.workers)} workers: answers after {took_s:.1f} s, "
            f"{cost.memory_mib:.0f} MiB in all"
        )
        waits = [tell_and_wait(operators, clients, prefixes, turn) for turn in range(_TIMES)]
    finally:
        plane.stop()
    click.echo(
        f"from a report of a route to answers that know it: median {statistics.median(waits):.2f} "
        f"s, at most {max(waits):.2f} s, of {_TIMES}"
    )


def copy_of(name: str, table: Table) -> Copy:
    """What is known of an appliance that serves."""
    return Copy(
        name, name, _SESSION, 0, table, PlaceRow(urls=[url_of(name)]),
        HealthRow(takes_traffic=True, state="serving"), CapacityRow(total_bits_per_s=1e11),
    )  # fmt: skip


def url_of(name: str) -> str:
    return f"http://{name}.example"


def tell_and_wait(operators: int, clients: int, prefixes: int, turn: int) -> float:
    """Seconds from the answer to a report of a network until clients in it are sent there."""
    outer = network((prefixes // 3 + turn * prefixes // 50) // _WITHIN * _WITHIN + 1)
    inner = outer.replace("/24", "/25")
    document = {
        "schema": SCHEMA, "kind": "changes", "appliance": "oca-0", "site": "oca-0",
        "session": _SESSION, "serial": turn + 1, "after": turn, "as_of": time.time(),
        "digest": "", "attributes": {"1": {"as_path": [1]}},
        "routes": {inner: [{"peer": 1, "attributes": 1}]},
    }  # fmt: skip
    ask(operators, "/v1/reports", document)
    begun = time.monotonic()
    wait_for(clients, inner, url_of("oca-0"))
    return time.monotonic() - begun


def wait_for(clients: int, inside: str, first: str) -> None:
    """Until clients of a network are sent to some server, and to this one first. Raises
    LoadFailure.
    """
    body = {"client": {"ip": inside.partition("/")[0]}, "objects": ["film.mp4"]}
    begun = time.monotonic()
    while time.monotonic() - begun < _WAIT_S:
        answer = ask(clients, "/v1/steer", body)
        urls = answer["objects"]["film.mp4"] if answer else []
        if urls and urls[0].startswith(first):
            return
        time.sleep(0.01)
    raise LoadFailure(f"nobody of {inside} is sent to {first or 'a server'} in {_WAIT_S:g} s")


def ask(port: int, path: str, document: object) -> Any:
    """What is answered; None for an answer without a body, and from who does not know who serves
    yet. Raises OSError, LoadFailure.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        fields = {"Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(document), fields)
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    if answer.status == 503:
        return None
    if answer.status >= 400:
        raise LoadFailure(f"{path}: {answer.status} {data[:300]!r}")
    return json.loads(data) if data else None


if __name__ == "__main__":
    main()
