"""What ExaBGP is told: its own validator takes it, and no value gets out of its place."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from bgp.commands import CommandError, refresh_routes
from bgp.configuration import (
    ConfigurationError,
    NeighborConfiguration,
    render_configuration,
    render_environment,
)

FEEDER = (sys.executable, "-m", "bgp.feeder")


def neighbor(**more: object) -> NeighborConfiguration:
    facts = {"address": "192.0.2.1", "peer_as": 1, "local_as": 2, "router_id": "192.0.2.9"}
    return NeighborConfiguration(**{**facts, **more})  # type: ignore[arg-type] # a row of fields


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        pytest.param({}, ["passive false;", "connect 179;", "local-address auto;"], id="plain"),
        pytest.param({"port": 1790}, ["connect 1790;"], id="port"),
        pytest.param(
            {"passive": True, "local_address": "192.0.2.9", "port": 1790},
            ["passive true;", "listen 1790;", "local-address 192.0.2.9;"],
            id="passive",
        ),
        pytest.param(
            {"listen_port": 1790, "local_address": "192.0.2.9"},
            ["passive false;", "connect 179;", "listen 1790;"],
            id="both_ways",
        ),
        pytest.param(
            {"address": "2001:db8::1", "local_address": "2001:db8::9", "families": ("ipv6",)},
            ["neighbor 2001:db8::1 {", "ipv6 unicast;"],
            id="ipv6",
        ),
        pytest.param(
            {"md5_key": "a\\b; {c} #d"}, ['md5-password "a\\\\b; {c} #d";'], id="md5_as_it_is"
        ),
        pytest.param({"ttl_security": True}, ["incoming-ttl 255;", "outgoing-ttl 255;"], id="gtsm"),
        pytest.param({"add_path": False}, ["add-path disable;"], id="one_path"),
    ],
)
def test_neighbor(more: dict[str, object], expected: list[str], tmp_path: Path) -> None:
    """Each way to have a session, as ExaBGP's validator accepts it."""
    text = render_configuration([neighbor(**more)], FEEDER)
    for statement in (*expected, "adj-rib-in false;", "route-refresh enable;"):
        assert statement in text
    assert validate(tmp_path, text) == ""


def test_many_neighbors(tmp_path: Path) -> None:
    """Sections have names of their own."""
    neighbors = [neighbor(address=f"192.0.2.{last}") for last in range(1, 9)]
    assert validate(tmp_path, render_configuration(neighbors, FEEDER)) == ""


def validate(folder: Path, text: str) -> str:
    """What ExaBGP says against it."""
    (folder / "exabgp.conf").write_text(text)
    account = pwd.getpwuid(os.geteuid()).pw_name
    (folder / "exabgp.env").write_text(render_environment(account))
    done = subprocess.run(
        [sys.executable, "-m", "exabgp", "validate", str(folder / "exabgp.conf")],
        env={**os.environ, "EXABGP_ENVFILE": str(folder / "exabgp.env")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"address": "192.0.2.1; }"}, id="statement_in_address"),
        pytest.param({"address": "fe80::1%eth0"}, id="zone"),
        pytest.param({"address": "router.example"}, id="name"),
        pytest.param({"local_address": "192.0.2.9\n"}, id="line_in_local_address"),
        pytest.param({"router_id": "2001:db8::1"}, id="router_id_of_ipv6"),
        pytest.param({"peer_as": 0}, id="as_0"),
        pytest.param({"peer_as": "1; peer-as 2"}, id="statement_in_as"),
        pytest.param({"local_as": True}, id="as_true"),
        pytest.param({"port": 65_536}, id="port"),
        pytest.param({"hold_time_s": 2}, id="hold_time"),
        pytest.param({"families": ("ipv4", "l2vpn evpn")}, id="family"),
        pytest.param({"md5_key": 'a"; passive true; md5-password "b'}, id="end_of_string"),
        pytest.param({"md5_key": "it's"}, id="other_quote"),
        pytest.param({"md5_key": "a\nb"}, id="line_in_key"),
        pytest.param({"md5_key": "k" * 81}, id="long_key"),
        pytest.param({"md5_key": "schlüssel"}, id="key_not_ascii"),
    ],
)
def test_refused(more: dict[str, object]) -> None:
    """What could be read as something else does not reach the text."""
    with pytest.raises(ConfigurationError):
        render_configuration([neighbor(**more)], FEEDER)


def test_key_is_not_told() -> None:
    """An error may stand in a log."""
    with pytest.raises(ConfigurationError) as caught:
        render_configuration([neighbor(md5_key="hush'")], FEEDER)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("feeder", [[], ["python"], ["/usr/bin/python", "a'b"], ["/a\nb"]])
def test_feeder_refused(feeder: list[str]) -> None:
    """Its command is absolute, and its words are words."""
    with pytest.raises(ConfigurationError):
        render_configuration([neighbor()], feeder)


def test_folder_with_a_space(tmp_path: Path) -> None:
    """Words are quoted: a folder may have any printable name."""
    program = tmp_path / "a folder; {odd}" / "python"
    program.parent.mkdir()
    program.symlink_to(sys.executable)
    assert validate(tmp_path, render_configuration([neighbor()], [str(program), "-m", "x"])) == ""


@pytest.mark.parametrize("user", ["", "a'b", "a\nb"])
def test_user_refused(user: str) -> None:
    """An account has a plain name."""
    with pytest.raises(ConfigurationError):
        render_environment(user)


# -- commands ------------------------------------------------------------------------------------


def test_refresh_command() -> None:
    """One line, as ExaBGP reads it."""
    assert (
        refresh_routes("2001:DB8::1", "ipv6 unicast")
        == b"neighbor 2001:db8::1 announce route-refresh ipv6 unicast\n"
    )


@pytest.mark.parametrize(
    ("peer", "family"),
    [("*", "ipv4 unicast"), ("192.0.2.1\nx", "ipv4 unicast"), ("192.0.2.1", "ipv4 unicast\nx")],
)
def test_command_refused(peer: str, family: str) -> None:
    """A second command cannot hide in a word."""
    with pytest.raises(CommandError):
        refresh_routes(peer, family)
