"""The control plane says what each appliance is to hold; it arrives, and clients are sent to it."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.content import blob, write_object
from tests.support.filling import Origin, make_manifest
from tests.support.network import network
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.slow, pytest.mark.timeout(120)]

HEARD = {"oca-1": ("127.0.0.0/8",), "oca-2": ("127.0.0.0/8",)}
COUNT = 12
FLEET = """
[fleet.content]
everywhere = false
catalogue = "catalogue.json"
[[fleet.site]]
id = "lab"
copies = {copies}
"""
FILL = """
[fill]
manifest_url = "{fleet}/v1/manifests/{name}"
manifest_interval_s = 1
manifest_token_file = "{folder}/token"
window = ""
plan_s = 1.0
"""


def test_content_arrives_and_is_offered(tmp_path: Path) -> None:
    """Each object at one of two appliances; a second copy of all, when the site is to have it."""
    master = tmp_path / "master"
    for number in range(COUNT):
        write_object(master, f"film/{number}.mp4", blob(5_000, seed=number))
    keys = [f"film/{number}.mp4" for number in range(COUNT)]
    origin = Origin(master)
    catalogue = tmp_path / "catalogue.json"
    catalogue.write_text(json.dumps({"version": "0", "objects": []}))
    try:
        with network(
            tmp_path, HEARD, site="lab", extra=FILL, fleet_toml=FLEET.format(copies=1.0)
        ) as made:
            fleet = made.fleet
            assert fleet.steer("127.0.0.1", keys[0])["objects"] == {keys[0]: []}
            assert fleet.get(f"/r/{keys[0]}", fleet.clients).status == 404
            catalogue.write_text(json.dumps(make_manifest(master, origin.url)))
            eventually(
                lambda: all(fleet.steer("127.0.0.1", *keys)["objects"].values()),
                "every object is offered", timeout_s=60,
            )  # fmt: skip
            found = fleet.steer("127.0.0.1", *keys)
            assert fleet.get("/v1/content").body["live"] == COUNT
            held = {
                name: {str(f.relative_to(each.disk)) for f in each.disk.glob("film/*")}
                for name, each in made.appliances.items()
            }
            assert all(held.values()), "each has some"
            assert sum(map(len, held.values())) == COUNT
            for key, urls in found["objects"].items():
                (url,) = urls
                (name,) = (name for name in held if key in held[name])
                assert url.startswith(made.appliances[name].url)
                with urlopen(url) as response:
                    assert response.read() == (master / key).read_bytes()
            why = fleet.get(f"/v1/explain?ip=127.0.0.1&key={keys[0]}").body
            assert "it does not have the object" in {each["why"] for each in why["candidates"]}
    finally:
        origin.close()
