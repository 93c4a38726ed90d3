"""The package under a live systemd, in a virtual machine: `make test-systemd`."""
