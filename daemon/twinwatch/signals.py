"""SIGINT, which Ctrl-C sends, ignored or deferred for the length of a block."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigint_ignored() -> Iterator[None]:
    """Ignore SIGINT inside the block, so that a second Ctrl-C does not interrupt the clean-up after the first."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def sigint_deferred() -> Iterator[None]:
    """Raise KeyboardInterrupt only after the block, if SIGINT came inside it.

    For imports: KeyboardInterrupt during an import can look like a broken module, or leave an import lock held.
    Where SIGINT is ignored, as in a job that a shell starts in the background, it stays ignored.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return
    received: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received:
        raise KeyboardInterrupt
