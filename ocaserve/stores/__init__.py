"""What a store is to whoever looks at it: a folder, its objects, and what its answers mean.

Workers decide by it what they serve from, the control process what it says of health. So both hold
the same folder for gone, and the same share of unreadable objects for a failed disk.
"""


def show_path(path: str) -> str:
    """For people and programs that read UTF-8: what is no UTF-8 in a path is replaced."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
