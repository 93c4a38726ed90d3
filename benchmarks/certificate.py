"""The certificate that all servers show: P-256, the usual choice where handshakes count."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from benchmarks.errors import LoadFailure


class Pair(NamedTuple):
    """The files of a certificate and its key."""

    certificate: Path
    key: Path

    def as_values(self) -> dict[str, str]:
        """By the names that templates know."""
        return {name: str(path) for name, path in self._asdict().items()}


def make_pair(folder: Path) -> Pair:
    """Write one that signs itself, and is good for a day. Raises LoadFailure."""
    pair = Pair(folder / "certificate.pem", folder / "key.pem")
    words = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"
        " -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    )
    command = [*words.split(), "-keyout", str(pair.key), "-out", str(pair.certificate)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise LoadFailure(f"no certificate: {made.stderr.strip()[-200:]}")
    return pair
