"""Free ports on the loopback."""

from __future__ import annotations

import random
import socket

from events.local_kafka.config import HOST
from events.local_kafka.errors import LocalKafkaError

# Below the range from which Linux (32768) and macOS (49152) number outgoing connections. A port
# from that range is lost for a restart as soon as any client is given it - even a client that
# tries to reach the stopped broker, which then connects to itself.
_FIRST, _END = 20_000, 32_000
_TRIES = 100


def is_free(port: int) -> bool:
    """Whether a server could listen there now (Java sets SO_REUSEADDR as well)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port nobody listens on now; the caller tries another if it is taken by the time of use."""
    for _ in range(_TRIES):
        port = random.randrange(_FIRST, _END)
        if is_free(port):
            return port
    raise LocalKafkaError(
        f"no free port on {HOST}: tried {_TRIES} between {_FIRST} and {_END}",
        hint="name one yourself",
    )


def accepts(port: int, timeout_s: float = 0.5) -> bool:
    """Whether a server takes connections there. Blocks for `timeout_s` at most."""
    try:
        socket.create_connection((HOST, port), timeout_s).close()
    except OSError:
        return False
    return True
