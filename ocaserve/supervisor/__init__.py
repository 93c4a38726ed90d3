"""The process that keeps the others alive: it binds, forks, watches, replaces; it serves nobody.

It has one thread and no asyncio, so that forking is safe (`reactor`, `children`). What to do next
is decided by functions without effects (`planning`), which are asked after every event;
`supervisor` does what they say.

Listeners. The shares of the listening sockets are numbered like the places of the workers. A worker
accepts from the share of its place; the share of a place that has no serving worker goes to another
one until it has, so no connection waits in a queue that nobody looks at.

A worker that dies is replaced after a pause that doubles with each death in a row. HUP replaces the
workers one after the other: the new one must be ready before the old one is told to finish; if it
does not start, those that were replaced are replaced back. USR2 starts the program anew with the
same sockets (`upgrade`), and retires this one when the new one is ready. Whatever fails on the way
leaves the old ones serving.
"""

from ocaserve.supervisor.planning import Timing
from ocaserve.supervisor.supervisor import RunWorker, Supervisor

__all__ = ["RunWorker", "Supervisor", "Timing"]
