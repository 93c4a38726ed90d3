"""Operators' policies: small programs that change decisions, and how they come into force.

`bundles` says what one is, `questions` what it is asked, `rulings` what it may answer, `lives` and
`releases` how one comes into force, `trials` whether a part of the clients fares worse with it:
these decide and do nothing. `process` is where programs run, `programs` the only module that knows
their language (Starlark), `runner` starts that process, asks it and replaces it; `desk` answers
decisions, from memory where it was asked before.
docs/policies.md is for those who write them.
"""
