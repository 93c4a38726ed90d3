"""The core: bytes in, plans out."""
