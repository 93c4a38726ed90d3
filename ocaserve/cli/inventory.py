"""`inventory`: what this machine is made of. It needs no running appliance."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ocaserve.inventory import Inventory


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inventory(as_json: bool) -> None:
    """Describe this machine: hardware, firmware, versions."""
    import msgspec

    from ocaserve.inventory import take_inventory

    found = take_inventory()
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
        return
    for line in _lines(found):
        click.echo(line)


def _lines(found: Inventory) -> list[str]:
    machine, cpu, software = found.machine, found.cpu, found.software
    lines = [
        f"host        {found.host}",
        f"machine     {_join(machine.vendor, machine.model, machine.serial)}",
        f"firmware    {_join(machine.firmware, machine.firmware_date)}",
        f"cpu         {_join(cpu.model, cpu.architecture)}",
        f"cores       {cpu.cores}, {cpu.threads} threads",
        f"memory      {found.memory_bytes / (1 << 30):.1f} GiB",
    ]
    for disk in found.disks:
        kind = {True: "rotating", False: "solid state", None: None}[disk.is_rotational]
        size = f"{disk.size_bytes / 1e9:.0f} GB" if disk.size_bytes else None
        lines.append(
            f"disk        {_join(disk.name, size, kind, disk.model, disk.serial, disk.scheduler)}"
        )
    for interface in found.interfaces:
        speed = interface.speed_bits_per_s
        lines.append(
            "interface   "
            + _join(
                interface.name,
                "up" if interface.is_up else "down",
                f"{speed / 1e9:g} Gbit/s" if speed else None,
                interface.driver,
                interface.firmware,
            )
        )
    lines += [
        f"system      {software.system}, {software.kernel}",
        f"software    ocaserve {software.ocaserve}, {software.python}, {software.openssl}",
        "libraries   " + ", ".join(f"{name} {at}" for name, at in software.libraries.items()),
    ]
    return lines


def _join(*parts: str | None) -> str:
    return " ".join(part for part in parts if part) or "unknown"
