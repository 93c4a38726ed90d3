"""What BGP taught the appliance, and what it tells the control plane.

    bgp.messages    one line of ExaBGP -> what happened
    sessions        what happened -> states of the sessions and families, tables that refuse
    filters         which routes are not used, and for which reason
    rib             the routes of all peers
    rpki            who may originate a prefix, from a file
    lookup          longest match, covering and more specific prefixes
    changes         what is new since a serial
    report          all of it as the control plane reads it
    exports         the routes as CSV and as a coverage zone file
    mrt             recorded routes

These decide and cannot act: no file, no socket, no clock, no log. `service` gives them lines, time
and readers; `reporter` pushes to the control plane.
"""
