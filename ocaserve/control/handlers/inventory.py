"""What the appliance is made of."""

from __future__ import annotations

import asyncio

from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.inventory import Inventory, take_inventory


async def show_inventory(_: Call) -> Inventory:
    """In a thread: some files of sysfs ask the hardware."""
    return await asyncio.get_running_loop().run_in_executor(None, take_inventory)


ENDPOINTS = (
    Endpoint("GET", "/v1/inventory", show_inventory, "Hardware and software of it", Inventory),
)
