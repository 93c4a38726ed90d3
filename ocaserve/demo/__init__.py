"""`ocaserve demo`: a short film is made, served by the real program, and played by a page; routes
that were recorded say whom it is for.

`film` draws and encodes it; `running` starts the appliance beside it and says what to try.
"""

from ocaserve.demo.running import run_demo

__all__ = ["run_demo"]
