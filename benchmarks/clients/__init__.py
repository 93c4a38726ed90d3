"""Programs that ask. Each says "begin" when its measured time begins, and its findings at the end.

They take one argument, a JSON object, and write JSON lines to standard output.
"""
