"""The OpenAPI document is true: Schemathesis, a program of others, tries what it says.

It sends what the document allows and what it forbids, to every operation of a running appliance,
and compares statuses, media and shapes of the answers with the document. The same requests each
time: its generator starts from what the operations are.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.control_client import call

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(180)]

TOKEN = "operate-token-0123456789"
TOML = f"""
[serve]
access_log = "off"
[health]
rise_s = 3600
fall_s = 0
[control]
listen = ["127.0.0.1:0"]
[control.tokens]
operate = ["{TOKEN}"]
"""
EXAMPLES = "3"  # of each operation, besides those that stand at the borders of its schemas

# What a document cannot say: whether a time is to come, which session there is, and that a text is
# a prefix. There, a refusal of what its schema allows is no fault.
TOLERANT = (
    "POST /v1/drain",
    "POST /v1/maintenance",
    "GET /v1/report/changes",
    "GET /v1/routes/lookup",
    "GET /v1/ledger",
    "GET /v1/ledger.csv",
    "POST /v1/queues/{queue}/messages",  # 82.0 is an integer in JSON Schema
    "POST /v1/queues/{queue}/ensure",
    "POST /v1/queues/{queue}/kick",  # one of two members
)
CONFIGURATION = "".join(
    f'[[operations]]\ninclude-name = "{name}"\nchecks.positive_data_acceptance.enabled = false\n'
    for name in TOLERANT
)


def test_document_is_true(serve: Serve, tmp_path: Path) -> None:
    """Nothing that it finds; and nothing that an operation did to the control process."""
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    write_object(tmp_path / "store", "a.mp4", blob(1000))
    with serve(tmp_path / "store", toml=TOML, workers=1) as daemon:
        control, pid = daemon.control_addresses[0], daemon.control()
        tried = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml",
                "run", f"http://{control}/v1/openapi.json",
                "--header", f"Authorization: Bearer {TOKEN}",
                "--exclude-path-regex", "/events$",  # streams have no end
                "--phases", "coverage,fuzzing", "--max-examples", EXAMPLES,
                "--generation-deterministic", "--continue-on-failure", "--no-color",
                "--request-timeout", "60", "--suppress-health-check", "all",
            ],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert tried.returncode == 0, tried.stdout[-20_000:] + tried.stderr[-2_000:]
        (generated,) = re.findall(r"(\d+) generated", tried.stdout)
        assert int(generated) > 300
        assert call(control, "GET", "/healthz").status in (200, 503)
        assert daemon.control() == pid
        said = daemon.log.read_text()
    assert "Traceback" not in said
    assert "a defect" not in said
