"""What `./dev network` writes for its parts, without starting any."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bgp.prefixes import parse_prefix
from ocaserve.routing.replay import replay_files
from ocaserve.steering.filters import Policy

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "network"


@pytest.fixture
def parts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("network_parts", FOLDER / "parts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ports(parts: ModuleType) -> object:
    return parts.Ports(*range(8100, 8106))


@pytest.mark.parametrize("site", ["east", "west"])
def test_recorded_routes_are_those_of_the_router(
    parts: ModuleType, site: str, tmp_path: Path
) -> None:
    """Where there is no router: the same networks, others' customers farther away."""
    recording = tmp_path / "routes.jsonl"
    recording.write_text("".join(parts.record_routes(site)))
    policy = Policy(allowed_bogons=tuple(map(parse_prefix, parts.CUSTOMERS.values())))
    played = replay_files([str(recording)], policy=policy)
    for own, prefix in parts.CUSTOMERS.items():
        (found,) = played.look_up(prefix)["covering"]
        assert found["prefix"] == prefix
        assert found["routes"][0]["path_length"] == (1 if own == site else 3)


def test_settings_are_right(
    parts: ModuleType, ports: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program takes those of an appliance and of the control plane; with no router too."""
    for name in ("with", "without"):
        folder = tmp_path / name
        folder.mkdir()
        if name == "without":
            monkeypatch.setattr(shutil, "which", lambda _: None)
        router = parts.Router(folder, 8105)
        made = parts.make_parts(folder, ports, router)
        assert ("router" in made) is router.is_real
        check = [sys.executable, "-m", "ocaserve", "check", "-c"]
        settings = str(folder / "east-1" / "ocaserve.toml")
        done = subprocess.run([*check, settings], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    with pytest.raises(parts.NetworkError, match="BIRD is not installed"):
        router.announce("east", is_announced=False)


@pytest.mark.skipif(shutil.which("bird") is None, reason="needs BIRD 2")
def test_router_takes_its_configuration(parts: ModuleType, tmp_path: Path) -> None:
    """With all that it announces, and with nothing for a site."""
    router = parts.Router(tmp_path, 8105)
    router.announced["east"] = False
    assert router.part() is not None
    check = ["bird", "-p", "-c", str(tmp_path / "bird.conf")]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
