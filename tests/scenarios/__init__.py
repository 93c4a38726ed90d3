"""Short plays with the real program, real sockets and real clients."""
