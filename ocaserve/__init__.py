"""A CDN appliance: byte ranges from disk to socket, steered by routes, run by an operator.

`protocol` holds the meaning of HTTP and cannot do I/O; `serving` moves bytes and obeys the plans
that `protocol` makes; `supervisor` keeps the processes alive; `settings` says what may be set.
"""

__version__ = "0.1.0"
