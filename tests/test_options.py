"""What means the same at every command: spans, times, and which appliance is meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ocaserve.cli import main, options
from ocaserve.cli.client import find_appliance
from ocaserve.cli.options import (
    find_config,
    moment_ahead,
    moment_past,
    parse_span,
    require_config,
    span,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90s", 90), ("90m", 5_400), ("12h", 43_200), ("7d", 604_800),
        ("2w", 1_209_600), ("1h30m", 5_400), ("0", 0), ("", None), ("1x", None), ("h", None),
        ("-1h", None), ("1.5h", None), ("1 h", None), ("9" * 30, None), ("٣m", None),
        ("1h30", None), ("2030-01-31T06:00", None),
    ],
)  # fmt: skip
def test_spans(text: str, seconds: int | None) -> None:
    """Of one spelling for all options."""
    assert parse_span(text) == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize("text", ["", "0", "soon", "1y"])
def test_a_span_that_is_none(text: str) -> None:
    with pytest.raises(click.BadParameter, match="must be a span such as 90s"):
        span(text)


def test_times() -> None:
    """A span is from now on, or before now; a time without a zone is local."""
    now = datetime.now(UTC)
    assert timedelta(minutes=89) < moment_ahead("90m") - now < timedelta(minutes=91)
    assert timedelta(minutes=89) < now - moment_past("90m") < timedelta(minutes=91)
    assert moment_ahead("2030-01-31T06:00Z") == datetime(2030, 1, 31, 6, tzinfo=UTC)
    assert moment_ahead("2030-01-31T06:00").tzinfo is not None
    with pytest.raises(click.BadParameter, match="must be a time such as"):
        moment_ahead("tomorrow")


@pytest.mark.parametrize(
    "words",
    [
        ["sign", "http://a/b", "--expires-in", "soon"],
        ["drain", "--until", "soon"],
        ["drain", "--deadline", "soon"],
        ["ledger", "--since", "soon"],
        ["ledger", "--until", "soon"],
        ["maintenance", "add", "soon", "1h"],
        ["maintenance", "add", "now", "soon"],
    ],
)
def test_every_command_refuses_what_is_no_time(words: list[str]) -> None:
    """With status 2, and an example of what is."""
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "'soon': must be a " in done.stderr
    assert "such as " in done.stderr


# -- which configuration, which appliance --------------------------------------------------------


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of the service, which is there."""
    file = tmp_path / "ocaserve.toml"
    file.write_text("")
    monkeypatch.setattr(options, "SERVICE_CONFIG", str(file))
    return str(file)


def test_configuration(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, the environment, the service's; or none."""
    environment = {"OCASERVE_CONFIG": "/other.toml"}
    assert find_config("/given.toml", environment) == "/given.toml"
    assert find_config(None, environment) == "/other.toml"
    assert find_config(None, {}) == service
    monkeypatch.setattr(options, "SERVICE_CONFIG", f"{service}.none")
    assert find_config(None, {}) is None
    with pytest.raises(click.UsageError, match="name a configuration with -c or OCASERVE_CONFIG"):
        require_config(None)


@pytest.mark.parametrize(
    ("given", "environment", "meant"),
    [
        pytest.param(("c", "a"), {"OCASERVE_CONTROL": "x"}, ("c", "a"), id="both_given"),
        pytest.param(
            (None, "a"), {"OCASERVE_CONFIG": "x"}, (None, "a"), id="an_address_gets_no_token"
        ),
        pytest.param(("c", None), {"OCASERVE_CONTROL": "x"}, ("c", None), id="file_given"),
        pytest.param((None, None), {"OCASERVE_CONTROL": "x"}, (None, "x"), id="address_there"),
        pytest.param(
            (None, None), {"OCASERVE_CONTROL": "x", "OCASERVE_CONFIG": "y"}, ("y", "x"), id="both"
        ),
        pytest.param((None, None), {"OCASERVE_CONFIG": "y"}, ("y", None), id="file_there"),
        pytest.param((None, None), {}, ("SERVICE", None), id="service"),
    ],
)
def test_appliance(
    service: str,
    given: tuple[str | None, str | None],
    environment: dict[str, str],
    meant: tuple[str | None, str | None],
) -> None:
    found = find_appliance(*given, environment)
    assert found == (service if meant[0] == "SERVICE" else meant[0], meant[1])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert f"_OCASERVE_COMPLETE={shell}_complete" in done.stdout
