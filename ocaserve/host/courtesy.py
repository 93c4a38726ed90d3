"""Making way: whoever serves gets processor and disk first."""

from __future__ import annotations

import logging
import os

import psutil

_log = logging.getLogger(__name__)

_NICE = 5
_LAST_IN_LINE = 7  # of a class of eight (ioprio_set(2)); idle ones might never get a turn


def make_way() -> None:
    """This process comes after those that have done nothing of the kind."""
    try:
        os.nice(_NICE)
        if hasattr(psutil, "IOPRIO_CLASS_BE"):  # Linux
            psutil.Process().ionice(psutil.IOPRIO_CLASS_BE, _LAST_IN_LINE)
    except (OSError, psutil.Error) as error:  # a service manager may forbid it
        _log.warning("this process takes its share beside those that serve: %s", error)
