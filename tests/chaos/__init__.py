"""Everything goes wrong, one thing after the other and two at a time, under many clients.

`python -m tests.chaos` (or `make chaos`): clients compare every byte they get; a request that fails
must be explained by the fault that was on; when a fault is lifted, all is back within 10 s; in the
end descriptors and memory are what they were. A run is repeated by its seed.
"""
