"""`ocaserve demo`: a short film is made, served by the real program, and played by a page.

`film` draws and encodes it; `running` starts the appliance beside it and says what to try.
"""

from ocaserve.demo.running import run_demo

__all__ = ["run_demo"]
