"""What serving costs beside nginx and others, measured in one run: `python -m benchmarks`.

The reading order: `scenarios` (what is asked), `peers` (who answers), `host` (what it costs them),
`clients` (who asks), `report` (what is written).
"""
