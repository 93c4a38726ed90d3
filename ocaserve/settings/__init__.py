"""What an operator may set: one record for each setting, with unit, default, bounds and reason.

A configuration file is TOML and strict: an unknown key is an error, and all errors of a file are
told at once, each with its line. Without a file, a directory is enough: everything else has a
default.

A module for each table (`serve`, `tls`, ...), put together in `model`; `source` reads the text,
`loading` makes settings of it, `contradictions` finds what single values do not show, `manual`
writes the reference. What a disk or the host says to them is for `ocaserve.checking`.
"""

from ocaserve.settings.appliance import ApplianceSettings, StoreSettings
from ocaserve.settings.control import Control, Tokens
from ocaserve.settings.drain import Drain
from ocaserve.settings.loading import load_control, load_settings, settings_from_directories
from ocaserve.settings.manual import describe_settings
from ocaserve.settings.model import Settings
from ocaserve.settings.serve import Limits, Serve
from ocaserve.settings.signing import Signing
from ocaserve.settings.tls import Certificate, Tls

__all__ = [
    "ApplianceSettings",
    "Certificate",
    "Control",
    "Drain",
    "Limits",
    "Serve",
    "Settings",
    "Signing",
    "StoreSettings",
    "Tls",
    "Tokens",
    "describe_settings",
    "load_control",
    "load_settings",
    "settings_from_directories",
]
