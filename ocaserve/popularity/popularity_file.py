"""What was found out about demand, in a file: for fill, and for our own successor.

It lies with the state of the appliance, so a restart forgets nothing; a damaged one is forgotten.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from ocaserve.popularity.demand_sums import per_day
from ocaserve.runtime import find_state_folder
from ocaserve.settings import Settings
from ocaserve.whole_files import replace_file

_log = logging.getLogger(__name__)

_NAME = "popularity"
DAY_S = 86_400.0


class Kept(Struct, frozen=True, array_like=True):
    """copies: in millionths, by key. at: when that was so, seconds since the epoch. read_to: where
    in the spool of each worker that is, by name: what is written together is counted once.
    """

    at: float
    copies: dict[str, float]
    read_to: dict[str, int]


def file_of(settings: Settings, folder: Path) -> Path:
    """folder: that of this run, where it is if there is none for the state."""
    state = find_state_folder(settings.appliance.state_directory, os.environ)
    return (state or folder) / _NAME


def read_popularity(file: Path) -> Kept:
    """Raises OSError, ValueError."""
    return msgspec.msgpack.decode(file.read_bytes(), type=Kept)


def read_copies_per_day(file: Path, half_life_s: float) -> dict[str, float]:
    """How much each object is wanted, by key; nothing where that is not known."""
    try:
        kept = read_popularity(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.warning("popularity: %s is not used: %s", file, error)
        return {}
    return {key: per_day(copies, half_life_s) for key, copies in kept.copies.items()}


def write_popularity(file: Path, kept: Kept) -> None:
    """Raises OSError."""
    replace_file(file, msgspec.msgpack.encode(kept))
