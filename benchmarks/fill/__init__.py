"""How content gets to a site: bytes of the origin, time, processor time."""
