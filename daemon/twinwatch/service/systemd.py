"""sd_notify(3): messages to systemd about what the daemon is doing. Without NOTIFY_SOCKET nothing is sent.

Our own, since the protocol is one datagram: sdnotify had its last release in 2017, and cysystemd binds a C library.
"""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> None:
    """Send assignments such as READY=1 in one message. Errors are ignored: the daemon does not depend on systemd."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            # A leading @ means a socket in the abstract namespace; see unix(7).
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.sendall("\n".join(lines).encode())
        except OSError:
            return
