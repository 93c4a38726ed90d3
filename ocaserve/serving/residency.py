"""Which bytes of a file are in memory, so that sending them cannot wait for the disk.

The only test that tells the truth for a whole range at little cost is mincore(2). It wants a
mapping, so each open file has one with PROT_NONE: it answers which pages are there, and no byte can
be read through it. Measured for 512 KiB: 11 us, against 36 us for a copying RWF_NOWAIT read;
cachestat(2) counts pages that are still being read, and a probe of single pages starts reads of
its own and misses the holes between them.

mincore answers "all resident" to a caller who neither owns the file nor may write it (the truth
would tell other users' secrets). `Residency` must not be made for such a file: `tells_truth` says
so, and every range of it goes through a thread.

A window of the file that was found resident is not asked about again for four seconds: the kernel
does not drop pages of a file that is being sent, short of an emergency, and asking each time would
cost a quarter of the time of sending (measured: 20 us for 1 MiB, which takes 60 to 90 to send). In
a window with holes it is ranges that are asked about and remembered, for as long: the index of a
film is asked for more often than the film. Time is counted in ticks of the catalogue's timer.

A window that mincore has once found whole is counted from then on (4 to 5 us for 1 MiB): only pages
that went and are being read again at this very moment could be counted and not be there.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from array import array

WINDOW_BITS = 20  # 1 MiB: an answer takes 20 us and holds for all requests of the next seconds
WINDOW_BYTES = 1 << WINDOW_BITS
FRESH_TICKS = 16  # four seconds, at four ticks a second
_PAGE = mmap.PAGESIZE
_PAGE_BITS = _PAGE.bit_length() - 1
_MOST_RANGES = 1024  # remembered for a file: 200 kB at the most
_WINDOW_PAGES = 1 << WINDOW_BITS - _PAGE_BITS
_MOST_WINDOWS = 18  # asked about in one call: more than the longest step spans
_VECTOR = bytearray((_MOST_WINDOWS << WINDOW_BITS) >> _PAGE_BITS)

# PyDLL keeps the interpreter's lock: the calls take microseconds and never wait for I/O, and giving
# the lock away would let a thread of the pool delay the event loop.
_libc = ctypes.PyDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_munmap = _libc.munmap
_munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_mincore = _libc.mincore
_mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
_VECTOR_ADDRESS = ctypes.addressof((ctypes.c_char * len(_VECTOR)).from_buffer(_VECTOR))
_MAP_FAILED = ctypes.c_void_p(-1).value
_PROT_NONE = 0

# cachestat(2), since Linux 6.5; neither the C library nor Python has a name for it yet.
_CACHESTAT = 451  # on every architecture that this runs on
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint]
_RANGE = array("Q", [0, 0])  # struct cachestat_range: offset and length in bytes
_COUNTS = array("Q", [0] * 5)  # struct cachestat: pages in the cache, dirty, and others
_RANGE_ADDRESS, _COUNTS_ADDRESS = _RANGE.buffer_info()[0], _COUNTS.buffer_info()[0]


def tells_truth(file: int, status: os.stat_result) -> bool:
    """Whether mincore answers honestly for this file and this process (mincore(2), Linux 5.2)."""
    user = os.geteuid()
    if user in (0, status.st_uid):
        return True
    return os.access(f"/proc/self/fd/{file}", os.W_OK, effective_ids=True)


class Residency:
    """What is known about the pages of one open file. Raises OSError when it cannot be mapped."""

    __slots__ = ("_address", "_file", "_holes", "_ranges", "_size", "_verified")

    def __init__(self, file: int, size: int) -> None:
        self._file = file
        self._size = size
        # By window: the tick when it was last seen to be whole, and to have a hole.
        self._verified = array("I", bytes(4 * ((size >> WINDOW_BITS) + 1)))
        self._holes = array("I", self._verified)
        self._ranges: dict[tuple[int, int], int] = {}  # in windows with holes, when last seen whole
        self._address = _mmap(None, size, _PROT_NONE, mmap.MAP_SHARED, file, 0)
        if self._address == _MAP_FAILED:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def close(self) -> None:
        """Unmap; no question may be asked afterwards."""
        _munmap(self._address, self._size)

    def is_resident(self, start: int, stop: int, tick: int) -> bool:
        """Whether bytes `start` up to `stop` can be sent without waiting. `tick` is now."""
        verified = self._verified
        first, last = start >> WINDOW_BITS, (stop - 1) >> WINDOW_BITS
        if first == last and tick - verified[first] < FRESH_TICKS:
            return True
        for window in range(first, last + 1):
            if tick - verified[window] >= FRESH_TICKS:
                return self._ask(window, last, start, stop, tick)
        return True

    def confirm(self, start: int, stop: int, tick: int) -> None:
        """These bytes were sent from memory at `tick`: windows that lie in them need no question.

        It saves all questions about objects that are sent in long ranges again and again.
        """
        last = (stop >> WINDOW_BITS) + (stop == self._size)
        for window in range((start - 1 >> WINDOW_BITS) + 1, last):
            self._verified[window] = tick

    def forget(self, start: int, stop: int) -> None:
        """These pages were let go of: what was known of them no longer holds."""
        for window in range(start >> WINDOW_BITS, ((stop - 1) >> WINDOW_BITS) + 1):
            self._verified[window] = 0
        self._ranges.clear()

    def _ask(self, window: int, last: int, start: int, stop: int, tick: int) -> bool:
        """Ask the kernel about windows `window` to `last`, and remember what they are."""
        if tick - self._holes[window] < FRESH_TICKS:
            return self._ask_range(start, stop, tick)
        last = min(last, window + _MOST_WINDOWS - 1)
        first_page = window << WINDOW_BITS - _PAGE_BITS
        pages = (min((last + 1) << WINDOW_BITS, self._size) - 1 >> _PAGE_BITS) + 1 - first_page
        was_whole = all(self._verified[window : last + 1])
        is_whole = was_whole and self._are_cached(first_page, pages)
        if is_whole or self._ask_pages(first_page, pages):
            for whole in range(window, last + 1):
                self._verified[whole] = tick
            return True
        for at in range(window, last + 1):
            from_page = at - window << WINDOW_BITS - _PAGE_BITS
            has_hole = _VECTOR.find(0, from_page, min(pages, from_page + _WINDOW_PAGES)) >= 0
            (self._holes if has_hole else self._verified)[at] = tick
        from_page = max(0, (start >> _PAGE_BITS) - first_page)
        return _VECTOR.find(0, from_page, (stop - 1 >> _PAGE_BITS) + 1 - first_page) < 0

    def _ask_range(self, start: int, stop: int, tick: int) -> bool:
        if tick - self._ranges.get((start, stop), 0) < FRESH_TICKS:
            return True
        first_page = start >> _PAGE_BITS
        if not self._ask_pages(first_page, (stop - 1 >> _PAGE_BITS) + 1 - first_page):
            return False
        if len(self._ranges) >= _MOST_RANGES:
            self._ranges.clear()
        self._ranges[start, stop] = tick
        return True

    def _are_cached(self, first: int, count: int) -> bool:
        """Whether so many pages are in the cache, whole or still being read. False: unknown."""
        _RANGE[0], _RANGE[1] = first << _PAGE_BITS, count << _PAGE_BITS
        failed = _syscall(_CACHESTAT, self._file, _RANGE_ADDRESS, _COUNTS_ADDRESS, 0)
        return not failed and _COUNTS[0] == count

    def _ask_pages(self, first: int, count: int) -> bool:
        """Whether these pages are all there; `_VECTOR` says which."""
        address = self._address + (first << _PAGE_BITS)
        if _mincore(address, count << _PAGE_BITS, _VECTOR_ADDRESS):
            return False
        return _VECTOR.find(0, 0, count) < 0


def can_tell_residency() -> bool:
    """Whether this system's mincore has the meaning used here."""
    return sys.platform == "linux"
