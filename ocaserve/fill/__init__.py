"""Content that arrives by itself: a manifest says what is to be here, and it is brought, verified.

`manifest`, `window`, `placement` and `planner` decide and cannot act; the other modules act and do
not decide.
"""
