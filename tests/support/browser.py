"""Headless Chromium, driven over the W3C WebDriver protocol by the standard library alone."""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_STARTED = "was started successfully on port "
_SCRIPT_MS = 60_000


class Browser:
    """One window. Its methods raise RuntimeError with what the browser says."""

    def __init__(self, port: int, profile: Path, *, any_certificate: bool) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        options = {
            "args": [
                "--headless=new",
                "--no-sandbox",  # tests may run as root, for whom Chromium has no sandbox
                "--disable-gpu",
                "--disable-dev-shm-usage",  # containers have little of it
                "--autoplay-policy=no-user-gesture-required",
                f"--user-data-dir={profile}",
            ]
        }
        wanted = {
            "browserName": "chrome",
            "acceptInsecureCerts": any_certificate,
            "goog:chromeOptions": options,
            "timeouts": {"script": _SCRIPT_MS},
        }
        answer = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{answer['sessionId']}"

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._ask("POST", f"{self._session}/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script; returns what it gives to its last argument, a function."""
        asked = {"script": script, "args": list(arguments)}
        return self._ask("POST", f"{self._session}/execute/async", asked)

    def resize(self, width: int, height: int) -> None:
        """The size of the window, in CSS pixels."""
        self._ask("POST", f"{self._session}/window/rect", {"width": width, "height": height})

    def emulate_width(self, width: int) -> None:
        """The width of the page, in CSS pixels; a window's has a lower bound."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._command("Emulation.setDeviceMetricsOverride", size)

    def emulate_colors(self, scheme: str) -> None:
        """What the viewer prefers: `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._command("Emulation.setEmulatedMedia", {"features": features})

    def _command(self, name: str, parameters: Mapping[str, object]) -> None:
        asked = {"cmd": name, "params": parameters}
        self._ask("POST", f"{self._session}/goog/cdp/execute", asked)

    def press(self, keys: str) -> None:
        """Type into what has the focus; special keys by their WebDriver code points."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        actions = [{"type": "key", "id": "keyboard", "actions": strokes}]
        self._ask("POST", f"{self._session}/actions", {"actions": actions})

    def screenshot(self) -> bytes:
        """What is seen, as a PNG."""
        return base64.b64decode(self._ask("GET", f"{self._session}/screenshot", {}))

    def close(self) -> None:
        self._ask("DELETE", self._session, {})
        self._connection.close()

    def _ask(self, method: str, path: str, body: Mapping[str, object]) -> Any:
        self._connection.request(method, path, json.dumps(body))
        value = json.loads(self._connection.getresponse().read())["value"]
        if isinstance(value, dict) and {"error", "message"} <= value.keys():
            raise RuntimeError(f"{value['error']}: {value['message']}")
        return value


@contextmanager
def browser(profile: Path, *, any_certificate: bool = False) -> Iterator[Browser]:
    """A browser with a fresh profile in a folder; ended at the end.

    any_certificate: it is to take one that nobody has signed.
    """
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    try:
        started = next(line for line in driver.stdout if _STARTED in line)
        window = Browser(
            int(started.split(_STARTED)[1].strip(" .\n")), profile, any_certificate=any_certificate
        )
        try:
            window.open("about:blank")  # the page it starts with takes no scripts from outside
            yield window
        finally:
            window.close()
    finally:
        driver.terminate()
        driver.wait()
        driver.stdout.close()
