"""Which objects clients want most: what workers were asked for, decayed over days; and those that
are wanted most are locked in memory, if that is wished for.

A process of its own. Fill reads what it keeps; nobody waits for it.
"""
