"""What must hold for any bytes at all."""
