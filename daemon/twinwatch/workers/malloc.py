"""What the C library does with memory that was freed. Only glibc can be told; others do as they do."""

from __future__ import annotations

import ctypes

# mallopt(3): its numbers, and bytes; one arena, as each takes 64 MB of the addresses that a process may have.
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = (-3, 32 << 20), (-1, 64 << 20), (-8, 1)


def keep() -> None:
    """Let it be kept: to be given fresh pages for a picture takes longer than to compute with them."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for parameter in (_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX):
            library.mallopt(*parameter)


def give_back() -> None:
    """Let the system have what is held free: reading and clustering a large index leave much of it."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
