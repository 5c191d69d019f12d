"""What Ctrl-C does for a while."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigint_ignored() -> Iterator[None]:
    """Let whoever presses Ctrl-C twice wait for what the first one is about to end."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def sigint_deferred() -> Iterator[None]:
    """Raise KeyboardInterrupt after the block: amid an import it may pass for a broken module, or leave a lock held.

    Where Ctrl-C is ignored, as in what a shell starts in the background, it stays so.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
