"""Would a client be sent here, and why: what decides is said first."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest.mock import patch

import pytest

from ocaserve.control.obstacles import Obstacle
from ocaserve.control.state import Appliance
from ocaserve.lifecycle import Phase
from ocaserve.steering.rpki import parse_vrps
from tests.support.control_app import ControlApp
from tests.support.exabgp_lines import PEER


@pytest.mark.parametrize(
    ("query", "is_steered", "because"),
    [
        pytest.param("ip=11.0.0.1", True, "its path is longer (2 against 1)", id="rival"),
        pytest.param("ip=2a01::1", False, "::/0 from 192.0.2.1 is not used", id="filtered"),
        pytest.param("ip=11.0.0.1&object=film.mp4", True, "has the object", id="content"),
        pytest.param("ip=11.0.0.1&object=../etc", False, "does not have", id="no_content"),
        pytest.param("ip=::ffff:11.0.0.1", True, "covers 11.0.0.1/32", id="ipv4_in_ipv6"),
    ],
)
async def test_explain(appliance: ControlApp, query: str, is_steered: bool, because: str) -> None:
    found = await appliance.get(f"/v1/explain?{query}")
    assert found["steered_here"] is is_steered
    assert any(because in reason for reason in found["because"]), found["because"]


async def test_explain_while_not_serving(appliance: ControlApp) -> None:
    appliance.state.appliance = Appliance(phase=Phase.STARTING)
    found = await appliance.get("/v1/explain?ip=11.0.0.1")
    assert not found["steered_here"]
    assert found["because"][0] == "the appliance is starting"


async def test_explain_says_what_decides_first(appliance: ControlApp, tmp_path: Path) -> None:
    """Content that is not there, or cannot be read, and health, before what is well."""
    (tmp_path / "film.mp4").unlink()
    found = await appliance.get("/v1/explain?ip=11.0.0.1&object=film.mp4")
    assert found["because"][0] == "it does not have the object 'film.mp4'"
    with patch("ocaserve.routing.content.choose_opener", return_value=_fail_to_read):
        found = await appliance.get("/v1/explain?ip=11.0.0.1&object=film.mp4")
    assert found["because"][0].startswith("it cannot read the object 'film.mp4': ")
    assert "Input/output error" in found["because"][0]
    obstacle = Obstacle("unhealthy", "stores: all are gone")
    with patch.object(appliance.state, "obstacles", [lambda: obstacle]):
        found = await appliance.get("/v1/explain?ip=11.0.0.1")
    decisive = "the appliance is serving, but unhealthy: stores: all are gone"
    assert found["because"][0] == decisive


def _fail_to_read(folder: int, path: bytes) -> int:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


async def test_explain_names_rivals_by_their_path(appliance: ControlApp) -> None:
    """With add-path, rivals may be of one peer."""
    for path_id, med in (("0.0.0.1", 0), ("0.0.0.2", 9), ("0.0.0.3", 0)):
        appliance.hear(appliance.exabgp.announce("12.0.0.0/8", path_id=path_id, med=med))
    said = (await appliance.get("/v1/explain?ip=12.0.0.1"))["because"]
    assert said[0].endswith(f"announced by {PEER} path-id 0.0.0.1")
    assert said[1] == (
        f"rival {PEER} path-id 0.0.0.3: equal but for the path identifier, which is higher"
    )
    assert said[2] == f"rival {PEER} path-id 0.0.0.2: its MED is higher (9 against 0)"


async def test_explain_names_the_payload(appliance: ControlApp) -> None:
    roas = b'{"roas": [{"prefix": "11.0.0.0/8", "asn": 65001}]}'
    appliance.service.table.set_validator(parse_vrps(roas))
    appliance.service.table.settle()
    said = (await appliance.get("/v1/explain?ip=11.0.0.1"))["because"]
    assert "RPKI says valid by 11.0.0.0/8 up to /8 of AS65001" in said
