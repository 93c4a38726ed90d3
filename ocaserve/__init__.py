"""A content-serving appliance: byte ranges from disk to socket, routes over BGP, reports to a control plane.

`protocol` holds the meaning of HTTP and cannot do I/O; `serving` moves bytes and obeys the plans that
`protocol` makes; `supervisor` keeps the processes alive; `settings` says what an operator may set.
"""

__version__ = "0.1.0"
