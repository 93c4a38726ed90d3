"""The server beside its peers, on one machine, in one run.

`python -m benchmarks` plays the scenarios of `scenarios.py` against each server of `peers/`, in
interleaved rounds, and writes tables, verdicts and a plot. Read `scenarios.py` first (what is
played), then `runner.py` (in which order), `loads/` (how one sample is taken), `results.py` (the
arithmetic) and `report.py` (the page).
"""
