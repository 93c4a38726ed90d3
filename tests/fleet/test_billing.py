"""Bills and the ledger over HTTP and on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ocaserve.bills.sides import write_parties
from ocaserve.bills.sqlite_vault import SqliteVault
from ocaserve.bills.taking import take
from ocaserve.cli import main
from tests.support.bills import GROUPING, NOVEMBER, SITES, add_up, chain
from tests.support.fleet import FleetProcess

OCTOBER = NOVEMBER - 31 * 86_400
TOKEN = "a-token-for-those-who-operate"
PARTIES = f"""
bill_keys_file = "bills.toml"
[fleet.tokens]
operate = ["{TOKEN}"]
[[fleet.party]]
id = "alpha"
prefixes = ["198.51.0.0/16"]
[[fleet.party]]
id = "beta"
prefixes = ["198.51.100.0/24", "2001:db8::/32"]
[[fleet.party]]
id = "gamma"
sites = ["exchange"]
"""


@pytest.fixture(scope="module")
def records() -> list[Any]:
    """All of October, and some of November."""
    return chain("oca-1", 31 * 288 + 5, OCTOBER)


@contextmanager
def running_with(folder: Path, records: list[Any], toml: str) -> Iterator[FleetProcess]:
    """A control plane that has all of these but one."""
    vault = SqliteVault(folder / "fleet-ledger")
    take(vault, GROUPING, [each for each in records if each.seq != 7], SITES, NOVEMBER + 86_400.0)
    write_parties(vault, GROUPING)
    vault.close()
    keys = folder / "bills.toml"
    keys.write_text(f'"1" = "{"ab" * 32}"\n')
    keys.chmod(0o600)
    with FleetProcess.running(folder, toml) as fleet:
        yield fleet


@pytest.fixture
def running(tmp_path: Path, records: list[Any]) -> Iterator[FleetProcess]:
    with running_with(tmp_path, records, PARTIES) as fleet:
        yield fleet


class Desk:
    """Commands to it, with the token of who operates."""

    def __init__(self, fleet: FleetProcess, folder: Path) -> None:
        self._token = folder / "token"
        self._token.write_text(TOKEN)
        self._where = fleet.operators

    def run(self, *words: str, status: int = 0) -> str:
        more = ["--fleet", self._where, "--token-file", str(self._token)]
        done = CliRunner().invoke(main, ["fleet", *words, *more])
        assert done.exit_code == status, done.output
        return done.output


def test_a_month_from_holes_to_a_signed_bill(
    running: FleetProcess, tmp_path: Path, records: list[Any]
) -> None:
    desk = Desk(running, tmp_path)
    status = desk.run("ledger", "status")
    assert "2026-10" in status
    assert "99.9887 %" in status
    assert "7 to 7 missing, from 2026-10-01T00:30Z" in desk.run("ledger", "holes", "2026-10")
    assert "2026-10 is not complete" in desk.run("ledger", "close", "2026-10", status=1)
    assert "as of now, not signed" in desk.run("bill", "alpha", "2026-10")
    assert "alpha: " in desk.run("ledger", "close", "2026-10", "--accept", "a disk was lost")
    said = desk.run("bill", "alpha", "2026-10")
    assert "closed incomplete, signed 2" in said
    assert "accepted: a disk was lost" in said

    printed = desk.run("bill", "alpha", "2026-10", "--json")
    for text, code, found in (
        (printed, 0, "alpha, 2026-10: signed 2"),
        (printed.replace('"bytes": ', '"bytes": 1'), 1, "not as it was signed"),
    ):
        file, keys = tmp_path / "bill.json", tmp_path / "bills.toml"
        file.write_text(text)
        asked = ["fleet", "ledger", "verify", str(file), "--keys-file", str(keys)]
        done = CliRunner().invoke(main, asked)
        assert (done.exit_code, found in done.output) == (code, True), done.output

    bill = json.loads(printed)
    october = [each for each in records if each.start < NOVEMBER and each.seq != 7]
    sums = add_up(october)
    mine = [count for (party, _), count in sums.items() if party == "alpha"]
    assert bill["bytes"] == sum(mine)
    assert desk.run("bill", "alpha", "2026-10", "--csv").count("\n") == 3

    words = ("ledger", "correct", "alpha", "2026-10", "-500", "--reason", "credit")
    assert "-500 bytes on the bill of 2026-11" in desk.run(*words, "--reference", "t1")
    assert "stands there with -500" in desk.run(*words, "--reference", "t1", status=1)
    assert "correction of 2026-10" in desk.run("bill", "alpha", "2026-11")


def test_errors_are_problems_that_name_the_thing(running: FleetProcess) -> None:
    operate = {"Authorization": f"Bearer {TOKEN}"}
    for path, status, said in (
        ("/v1/bills?month=2026-13", 422, "'2026-13': must be a month such as 2026-11"),
        ("/v1/bills?month=2001-01", 404, "nothing is held of 2001-01"),
        ("/v1/bills/nobody/2026-10", 404, "'nobody' is no party of 2026-10"),
        ("/v1/bills/nobody/2026-10/curve", 404, "'nobody' has no bill of 2026-10"),
    ):
        answer = running.get(path, **operate)
        assert (answer.status, answer.body["detail"]) == (status, said)
        assert answer.headers["content-type"].startswith("application/problem+json")
    refused = running.post("/v1/ledger/close", {"month": "2026-10"}, **operate)
    assert refused.status == 409
    assert "without 7 to 7" in refused.body["faults"][0]
    assert running.post("/v1/ledger/close", {"month": "2026-10"}).status == 401
    curve = running.get("/v1/bills/alpha/2026-10/curve", **operate).body
    assert len(curve["bytes"]) == 31 * 288
    assert sum(curve["bytes"]) == running.get("/v1/bills/alpha/2026-10", **operate).body["bytes"]


def test_without_a_place_there_is_no_ledger(tmp_path: Path) -> None:
    with FleetProcess.running(tmp_path, 'ledger = "off"\n') as fleet:
        answer = fleet.get("/v1/ledger")
    assert answer.status == 404
    assert "fleet.ledger is off" in answer.body["detail"]


def test_other_parties_take_over_by_commands(tmp_path: Path, records: list[Any]) -> None:
    with running_with(tmp_path, records, PARTIES) as fleet:
        assert "none; in force: sqlite" in Desk(fleet, tmp_path).run("ledger", "migrate", "status")
    others = PARTIES.replace('id = "gamma"', 'id = "delta"').replace('"exchange"', '"lab"')
    with FleetProcess.running(tmp_path, others) as fleet:
        desk = Desk(fleet, tmp_path)
        assert "the settings name other parties" in desk.run("ledger", "status")
        assert "no migration is planned" in desk.run("ledger", "migrate", "switch", status=1)
        said = desk.run("ledger", "migrate", "plan", "--days", "0")
        assert "2026-10, open: 8,927 records, grouped anew" in said
        assert "doubling" in desk.run("ledger", "migrate", "double")
        assert "equal" in desk.run("ledger", "migrate", "compare")
        assert "the new ledger is in force" in desk.run("ledger", "migrate", "switch")
        assert "3 parties" in desk.run("ledger", "status")
        assert "as of now" in desk.run("bill", "delta", "2026-10")
        assert "doubling" in desk.run("ledger", "migrate", "back")
        assert "no party" in desk.run("bill", "delta", "2026-10", status=1)
