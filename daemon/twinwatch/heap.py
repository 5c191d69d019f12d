"""What the C library does with memory that was freed. Only glibc can be told; others do as they do."""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD = (-3, 32 << 20), (-1, 64 << 20)  # mallopt(3): its numbers, and bytes


def keep() -> None:
    """Let it be kept: to be given fresh pages for a picture takes longer than to compute with them."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for parameter in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            library.mallopt(*parameter)


def give_back() -> None:
    """Let the system have what is held free: reading and clustering a large index leave much of it."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
