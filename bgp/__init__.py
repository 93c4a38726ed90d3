"""What runs inside ExaBGP's process tree: its configuration, the feeder, the messages.

ExaBGP speaks BGP and starts the feeder as its child; the feeder passes on what ExaBGP says to the
control process. This package imports itself and the standard library alone, because the feeder must
start in a moment, and must not fail for a reason that has nothing to do with routes.
"""
