"""The process that keeps the others alive: it binds, forks, watches, replaces; it serves nobody.

It has one thread and no asyncio, so that forking is safe (`reactor`, `children`). What to do next
is decided by functions without effects (`staffing`), which are asked after every event. `workforce`
does what they say of workers, `posts` looks after the processes beside them, `listening` after
the sockets of all; a set of settings with its sockets is a `generation`, and `reload` and `upgrade`
change from one to the next. `supervisor` puts them together, and hears the signals.

Listeners. The shares of the listening sockets are numbered like the places of the workers. A worker
accepts from the share of its place; the share of a place that has no serving worker goes to another
one until it has, so no connection waits in a queue that nobody looks at.

A worker that dies after it has served is replaced at once. One that dies of its start is replaced
after a pause that doubles with each that failed in a row, to a bound, and ends when a worker of any
place comes into service. HUP replaces the workers one after the other: the new one must be ready
before the old one is told to finish; if it does not start, those that were replaced are replaced
back. USR2 starts the program anew with the same sockets, and retires this one when the new one is
ready. Whatever fails on the way leaves the old ones serving.
"""

from ocaserve.supervisor.staffing import RestartTiming
from ocaserve.supervisor.supervisor import Supervisor, count_slots
from ocaserve.supervisor.workforce import RunWorker

__all__ = ["RestartTiming", "RunWorker", "Supervisor", "count_slots"]
