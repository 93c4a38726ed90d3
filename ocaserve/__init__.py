"""A CDN appliance: byte ranges from disk to socket, steered by routes, run by an operator.

`protocol` holds the meaning of HTTP and cannot do I/O; `serving` moves bytes and obeys the plans
that `protocol` makes; `supervisor` keeps the processes alive; `control` is the interface for
operators and the control plane, over what `health`, `host`, `ledger` and `steering` know;
`settings` says what may be set; `cli` is the command line, `doctor` looks at the host.
"""

__version__ = "0.1.0"
