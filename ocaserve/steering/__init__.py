"""What BGP taught the appliance, and what it tells the control plane.

    bgp.messages    one line of ExaBGP -> what happened
    families        the life of a session's families, a table that refuses
    sessions        what happened -> what it means for them and for the table
    filters         which routes are not used, and for which reason
    rib             the routes of all peers
    held_paths      what routes have in common, held once
    rpki            who may originate a prefix, from a file
    lookup          longest match, covering and more specific prefixes
    changes         what is new since a serial
    report          all of it as the control plane reads it
    exports         the routes as CSV and as a coverage zone file
    mrt             recorded routes

These decide and cannot act: no file, no socket, no clock, no log. `ocaserve.routing` gives them
lines, time and readers, and pushes what they say to the control plane.
"""
