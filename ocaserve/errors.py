"""The errors that end a command. Each says what is wrong in one line; none needs a traceback.

OcaserveError
 ├── SettingsError      the configuration is not acceptable; all its faults at once
 ├── ListenError        an address cannot be listened on
 ├── StartError         the appliance could not be brought into service
 └── SigningError       a URL could not be signed
"""

from __future__ import annotations

from collections.abc import Sequence


class OcaserveError(Exception):
    """Shown to the operator as it is; the command ends with status 1."""


class SettingsError(OcaserveError):
    """`faults`: a line for each, naming the key, the value and what is allowed."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class ListenError(OcaserveError):
    """The address and the reason stand in the text."""


class StartError(OcaserveError):
    """The reason stands in the text."""


class SigningError(OcaserveError):
    """A URL could not be signed; the text holds no secret."""
