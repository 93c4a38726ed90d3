"""A million routes: `python -m benchmarks.routes` measures them and rewrites ROUTES.md.

table       the routes, made or recorded, as BGP messages and as lines of ExaBGP
speaker     the router that sends them
consumer    ExaBGP's child that does nothing: what ExaBGP itself takes
live        the whole appliance with that router, seen from outside
inside      the control process's part alone, in this process
page        ROUTES.md
"""
