"""How the C library's malloc treats freed memory. These are glibc's calls; with another C library they do nothing."""

from __future__ import annotations

import ctypes

# Parameter numbers and values for mallopt(3), values in bytes. One arena, as each takes 64 MB of address space.
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = (-3, 32 << 20), (-1, 64 << 20), (-8, 1)


def keep_freed_memory() -> None:
    """Have malloc keep freed memory for reuse: getting fresh pages for a picture takes longer than the arithmetic."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for parameter in (_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX):
            library.mallopt(*parameter)


def trim() -> None:
    """Return free memory to the system. Reading and clustering a large index leaves much of it."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
