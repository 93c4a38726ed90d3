"""The meaning of HTTP: bytes of a request in, a plan of the response out.

Nothing here does I/O, reads a clock or logs. The order of reading: `messages` (what is passed on),
`head` and `target` (what was asked), `ranges`, `etags`, `dates`, `conditional` (what the fields
mean), `planning` (what is answered), `connection_states` (the life of a connection).
"""
