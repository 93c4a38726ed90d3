"""What acts for `ocaserve.steering`: it reads sockets and files, has a clock, pushes and logs.

exabgp          the process of ExaBGP: its configuration, account and start
feed            hears the feeder that runs in ExaBGP
live            the table of the routers, in the control process's event loop
payloads        a file of RPKI payloads, read when it is another
recordings      what stands in a file of recorded routes
replay          recorded routes into a table of their own
content         whether the stores have an object
watching        what health and Prometheus see of the routes
reporter        pushes to the control plane
"""
