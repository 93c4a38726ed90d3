"""What a configuration meets on this machine: disks, files, addresses, accounts.

One truth for `check`, `serve` and a reload: `examine` says all that is wrong, each finding with its
place in the file and with what follows from it (`ocaserve.findings`). A module for each kind of
thing that is looked at; `examining` puts them together.
"""

from ocaserve.checking.examining import Examined, examine, load_settings
from ocaserve.findings import Finding, Severity

__all__ = ["Examined", "Finding", "Severity", "examine", "load_settings"]
