"""When a certificate expires, and what is said of it."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ocaserve.health.certificates import CertificatesComponent, expiry_of
from ocaserve.health.model import Level, Timing, worst_level
from ocaserve.settings.health import HealthSettings

DAY_S = 86_400


def make_certificate(folder: Path, days: int, name: str = "a") -> Path:
    """A certificate that expires in so many days; none below 1 can be made."""
    file = folder / f"{name}.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes", "-keyout", str(folder / f"{name}.key"), "-out", str(file),
        "-days", str(days), "-subj", "/CN=oca.example",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return file


def openssl_expiry(file: Path) -> float:
    """What OpenSSL says."""
    command = ["openssl", "x509", "-in", str(file), "-noout", "-enddate"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    text = said.strip().removeprefix("notAfter=")
    return datetime.strptime(text, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize("days", [1, 90, 36_500], ids=["utc-time", "utc", "generalized-time"])
def test_expiry(tmp_path: Path, days: int) -> None:
    """As OpenSSL reads it; the year 2050 is written in another form."""
    file = make_certificate(tmp_path, days)
    assert expiry_of(file.read_text()) == openssl_expiry(file)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "holds no PEM certificate", id="empty"),
        pytest.param(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            "holds a certificate that cannot be read",
            id="cut",
        ),
        pytest.param(
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "holds a certificate that cannot be read",
            id="length-leads-out",
        ),
    ],
)
def test_unreadable(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        expiry_of(text)


def test_every_cut_is_refused(tmp_path: Path) -> None:
    """Whatever is wrong is a ValueError that says so, never another error."""
    lines = make_certificate(tmp_path, 1).read_text().splitlines()
    for count in range(1, len(lines) - 2):
        text = "\n".join([lines[0], *lines[1:count], lines[-1]])
        with pytest.raises(ValueError, match="cannot be read"):
            expiry_of(text)


def test_component(tmp_path: Path) -> None:
    """From ok through warning and error to expired, and ok when the file is renewed."""
    file = make_certificate(tmp_path, 30)
    wall = [expiry_of(file.read_text())]
    component = CertificatesComponent(
        Timing(0, 0), HealthSettings(), [str(file), str(file)], lambda: wall[0]
    )
    expires = wall[0]
    seen = []
    for now, left in enumerate([29 * DAY_S, 20 * DAY_S, 2 * DAY_S, -1]):
        wall[0] = expires - left
        observation = component.observe(now)
        reasons = [problem.reason for problem in observation.problems]
        seen.append((worst_level(p.level for p in observation.problems), *reasons))
    assert seen == [
        (Level.OK,),
        (Level.WARNING, f"{file} expires in 20 days"),
        (Level.ERROR, f"{file} expires in 2 days"),
        (Level.ERROR, f"{file} has expired"),
    ]
    make_certificate(tmp_path, 60)
    assert component.observe(4).problems == ()


def test_no_certificates() -> None:
    component = CertificatesComponent(Timing(0, 0), HealthSettings(), [], lambda: 0.0)
    assert component.observe(0).summary == "none"


def test_missing_file(tmp_path: Path) -> None:
    """The worker would not start with it; while it runs, the next start is what fails."""
    file = tmp_path / "gone.pem"
    component = CertificatesComponent(Timing(0, 0), HealthSettings(), [str(file)], lambda: 0.0)
    (problem,) = component.observe(0).problems
    assert (problem.level, problem.reason) == (Level.ERROR, f"{file}: No such file or directory")
