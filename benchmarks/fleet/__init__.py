"""A fleet in one process: appliances, clients and faults, against a real control plane.

`world` says what there is, `documents` what an appliance says of itself, `pushing` sends that as
appliances do. `clients` ask and load appliances by what they are answered, `checker` holds the
answers against its own view. `scenarios` are what can happen, `stage` what they are played on, and
`page` shows what came of it. The control plane is spoken to over HTTP alone.
"""
