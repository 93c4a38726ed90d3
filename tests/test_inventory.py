"""What a machine is made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ocaserve.cli import main
from ocaserve.inventory import take_inventory

FILES = {
    "class/dmi/id/sys_vendor": "Supermicro\n",
    "class/dmi/id/product_name": "SYS-1\n",
    "class/dmi/id/bios_version": "2.1\n",
    "block/sda/device/model": "ST16000NM  \n",
    "block/sda/device/rev": "SN02\n",
    "block/sda/size": "31251759104\n",
    "block/sda/queue/rotational": "1\n",
    "block/sda/queue/scheduler": "none [mq-deadline] kyber\n",
    "block/sda/queue/read_ahead_kb": "128\n",
    "block/loop0/size": "8\n",
    "block/nvme0n1/device/serial": "S1\n",
    "block/nvme0n1/queue/scheduler": "none\n",
}


@pytest.fixture
def sys_folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / "sys" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: AMD EPYC 7502P\n")
    return tmp_path


def test_linux(sys_folder: Path) -> None:
    """Each fact where it is told, null where it is not."""
    found = take_inventory(sys_folder / "sys", sys_folder)
    machine = found.machine
    assert (machine.vendor, machine.model, machine.firmware) == ("Supermicro", "SYS-1", "2.1")
    assert machine.serial is None
    assert found.cpu.model == "AMD EPYC 7502P"
    nvme, sda = found.disks
    assert (nvme.name, nvme.serial, nvme.scheduler, nvme.size_bytes) == (
        "nvme0n1", "S1", "none", None,
    )  # fmt: skip
    assert (sda.model, sda.firmware, sda.is_rotational) == ("ST16000NM", "SN02", True)
    assert (sda.size_bytes, sda.scheduler, sda.read_ahead_bytes) == (
        16_000_900_661_248, "mq-deadline", 131_072,
    )  # fmt: skip


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    found = take_inventory(tmp_path, tmp_path)
    assert found.disks == []
    assert found.machine.model is None
    assert found.software.libraries["msgspec"]


def test_command() -> None:
    """For people and for programs."""
    shown = CliRunner().invoke(main, ["inventory"])
    assert "software    ocaserve " in shown.output
    told = json.loads(CliRunner().invoke(main, ["inventory", "--json"]).output)
    assert told["memory_bytes"] > 0
    assert told["software"]["python"].startswith("CPython")
