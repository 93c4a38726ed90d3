"""The delivery ledger: how many bytes of body went to which client network, and when.

A connection adds what it has sent to the tally of its network (`tallies`). Once a second its worker
takes all tallies, those of responses under way too, and appends them to a spool file (`spool`).
The control process reads the spools (`collector`), adds them up in periods (`book`) and keeps
closed periods as files (`archive`), from which sums are made (`summary`), and as records for bills
(`records`, `record_files`), of which the fleet is told (`handover`).

What is counted, and what can be lost. Bytes are those that sockets have taken, as in the counters.
Each is counted once, because the sums of the open periods and how far each spool is read are
replaced together, by one rename:

* control dies: nothing is lost; its successor goes on where the last commit was;
* a worker dies: what it sent since its last record is lost, which is a second at most;
* the machine loses power: what was sent since the last commit is lost, ten seconds at most.

Nothing grows without bounds: beyond `ledger.networks` all further networks are `other`, and spools
that nobody reads stop growing while the tallies go on in memory.
"""
