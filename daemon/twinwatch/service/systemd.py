"""sd_notify(3): tells systemd what the daemon is doing. Without NOTIFY_SOCKET it does nothing."""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> None:
    """Send assignments such as READY=1; a service manager that does not listen is no reason to fail."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            # A leading @ stands for the abstract name space.
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.sendall("\n".join(lines).encode())
        except OSError:
            return
