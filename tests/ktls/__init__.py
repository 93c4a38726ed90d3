"""TLS in the kernel, tried in a virtual machine whose kernel has it: `make test-ktls`."""
