"""Sockets and files: what moves the bytes. It obeys the plans that `ocaserve.protocol` makes."""
