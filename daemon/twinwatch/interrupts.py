"""What Ctrl-C does for a while."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ignored() -> Iterator[None]:
    """Let whoever presses Ctrl-C twice wait for what the first one is about to end."""
    with _answered(signal.SIG_IGN):
        yield


@contextmanager
def fatal() -> Iterator[None]:
    """End the process at once. For imports: an exception may leave their lock held or be taken for a broken module."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell sets it for what it starts in the background
        yield
        return
    with _answered(signal.SIG_DFL):
        yield


@contextmanager
def _answered(how: signal.Handlers) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, how)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
