"""Ports of this machine that nobody listens on."""

import contextlib
import random
import socket


def free_addresses(count: int) -> list[str]:
    """Addresses on 127.0.0.1 whose ports are free, and below those that outgoing connections get by themselves."""
    with contextlib.ExitStack() as opened:
        found = []
        while len(found) < count:
            probe = opened.enter_context(socket.socket())
            port = random.SystemRandom().randrange(12000, 32000)
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                found.append(f"127.0.0.1:{port}")
    return found
