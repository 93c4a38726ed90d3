"""Carrying out what the operator wants: workers are told, and it is kept."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocaserve.control.operations import Intent, Operations, recall_intent, state_file_in
from ocaserve.lifecycle import DutyState
from ocaserve.link import Link
from ocaserve.settings import Drain


class Appliance:
    """Operations over a clock that is set, and what they told the supervisor."""

    def __init__(self, folder: Path) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._theirs.setblocking(False)
        self.now = 1000.0
        self.obstacle: str | None = None
        self.file = state_file_in(folder)
        self.operations = Operations(
            Intent(), Drain(), Link(self._ours), self.file, lambda: self.obstacle, lambda: self.now
        )

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()

    def told(self) -> list[dict[str, Any]]:
        """What has been said since it was last asked."""
        found = []
        while True:
            try:
                found.append(json.loads(self._theirs.recv(65_536)))
            except BlockingIOError:
                return found

    def last_order(self) -> dict[str, Any]:
        return dict([said["order"] for said in self.told() if said["is"] == "ordering"][-1])

    @property
    def state(self) -> str:
        return self.operations.duty.state.value


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    made = Appliance(tmp_path)
    yield made
    made.close()


def test_drain_is_told_and_kept(appliance: Appliance) -> None:
    """The deadline is that of the settings; a successor finds it all."""
    appliance.operations.drain("disk", deadline=None, until=None)
    noted, ordered = appliance.told()
    assert ordered["order"] == {
        "do": "duty", "word": "draining", "is_fit": False, "turns_away": False,
    }  # fmt: skip
    assert appliance.operations.duty.deadline == 1000.0 + 7200.0
    assert recall_intent({noted["name"]: noted["value"]}, None) == appliance.operations.intent
    assert recall_intent({}, appliance.file) == appliance.operations.intent


def test_turns_away_at_the_deadline(appliance: Appliance) -> None:
    """By itself."""
    appliance.operations.drain("", deadline=1010.0, until=None)
    assert not appliance.last_order()["turns_away"]
    appliance.now = 1010.0
    appliance.operations.look(quiet_s=0.0)
    assert appliance.last_order()["turns_away"]


def test_window_drains_and_enables(appliance: Appliance) -> None:
    """Between its start and its end, and it is forgotten afterwards."""
    operations = appliance.operations
    operations.add_window(1010.0, 1020.0, "fan")
    assert appliance.state == "enabled"
    appliance.now = 1010.0
    operations.look(quiet_s=0.0)
    assert (appliance.state, operations.duty.reason) == ("draining", "fan")
    operations.look(quiet_s=60.0)
    assert appliance.state == "drained"
    appliance.now = 1020.0
    operations.look(quiet_s=60.0)
    assert appliance.state == "enabled"
    assert operations.intent.windows == ()


def test_enabling_cancels_the_window_that_runs(appliance: Appliance) -> None:
    """It does not drain again; one that is to come still does."""
    operations = appliance.operations
    operations.add_window(1000.0, 1020.0, "now")
    later = operations.add_window(1030.0, 1040.0, "later")
    assert operations.duty.is_draining
    operations.enable()
    operations.look(quiet_s=0.0)
    assert not operations.duty.is_draining
    assert operations.intent.windows == (later,)


def test_cancelling_the_window_that_drained(appliance: Appliance) -> None:
    """Its drain is over too."""
    operations = appliance.operations
    operations.add_window(1000.0, 1020.0, "now")
    operations.cancel_window(operations.intent.windows[0])
    assert not operations.duty.is_draining


def test_drain_before_a_window_has_no_end(appliance: Appliance) -> None:
    """The operator was earlier, and decides."""
    operations = appliance.operations
    operations.drain("broken", deadline=None, until=None)
    operations.add_window(1000.0, 1020.0, "planned")
    appliance.now = 1020.0
    operations.look(quiet_s=0.0)
    assert (operations.duty.is_draining, operations.duty.reason) == (True, "broken")


def test_obstacle(appliance: Appliance) -> None:
    """/healthz says it while the operator wants to serve, and is told of changes alone."""
    operations = appliance.operations
    operations.look(quiet_s=0.0)
    assert appliance.last_order()["is_fit"]
    appliance.obstacle = "unhealthy"
    operations.look(quiet_s=0.0)
    order = appliance.last_order()
    assert (order["word"], order["is_fit"]) == ("unhealthy", False)
    operations.look(quiet_s=0.0)
    assert appliance.told() == []


def test_state_file_that_cannot_be_read(tmp_path: Path) -> None:
    """The appliance serves, and says so in the log."""
    file = tmp_path / "intent.json"
    file.write_text("{")
    assert recall_intent({}, file).duty.state is DutyState.ENABLED


def test_state_folder_that_cannot_be_written(
    appliance: Appliance, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on with what is wanted, says so once, and writes it when it can."""
    assert appliance.file is not None
    folder, away = appliance.file.parent, appliance.file.parent.with_name("away")
    folder.rename(away)
    appliance.operations.drain("for a test", deadline=None, until=None)
    for _ in range(3):
        appliance.operations.look(quiet_s=0.0)
    assert appliance.state == "draining"
    assert not appliance.file.exists()
    assert caplog.text.count("is lost with a restart") == 1
    away.rename(folder)
    appliance.operations.look(quiet_s=0.0)
    assert recall_intent({}, appliance.file).duty.reason == "for a test"
    assert caplog.text.count("is written again") == 1


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b'{"duty": 5}', b"{"])
def test_damaged_state_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """It is said, and the appliance serves."""
    file = state_file_in(tmp_path)
    assert file is not None
    file.write_bytes(content)
    assert recall_intent({}, file).duty.state is DutyState.ENABLED
    assert f"{file} is not used" in caplog.text


def test_state_file_that_is_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = state_file_in(tmp_path)
    assert file is not None
    file.mkdir()
    assert recall_intent({}, file).duty.state is DutyState.ENABLED
    assert "is not used" in caplog.text


def test_notes_of_another_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the supervisor kept may be in other words: the file counts then."""
    assert recall_intent({"intent": {"duty": "?"}}, state_file_in(tmp_path)).windows == ()
    assert "is not used" in caplog.text
