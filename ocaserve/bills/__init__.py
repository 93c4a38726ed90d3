"""The fleet's ledger: what all appliances delivered, to whom it is billed, and that it adds up.

Appliances close periods of five minutes into records, chained and numbered without holes. Here they
are kept for good (`taking`), each once by its number, in the tables of the month that it lies in (a
file of SQLite or a schema of PostgreSQL, `vault`). In the same transaction their bytes are added to
the five-minute samples of the parties that they are billed to (`parties`): a sample counts a record
if and only if the record is held. A 95th percentile cannot be added up, so it is taken from the
samples of all appliances together.

A month is closed once (`month_end`), with all that is missing of it named (`gaps`), and its bills
are signed and kept as they were issued (`bill`). What comes later is an entry of the next bill.
Another grouping or another store runs beside the one in force (`migration`), and takes its place
when both say the same of every party and period (`discrepancies`).
"""
