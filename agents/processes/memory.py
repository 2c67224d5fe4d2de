"""A limit on the address space of this process: what goes beyond it is a `MemoryError`.

Counted from what is mapped by now, so that the figure is what the work may take: an interpreter
with its libraries maps a lot that it never touches. Children inherit the limit unless they set
their own. Where the system has none that holds (not Linux), it is said and ignored.
"""

from __future__ import annotations

from pathlib import Path

from events.logs import get_logger

MB = 1_048_576

_log = get_logger("caseworks.worker")


def limit_memory(memory_max_mb: int) -> bool:
    """Set the limit; whether it holds from now on."""
    try:
        import resource

        soft = _mapped() + memory_max_mb * MB
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY:
            soft = min(soft, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    except (ImportError, AttributeError, ValueError, OverflowError, OSError) as error:
        _log.warning("memory_not_limited", wanted_mb=memory_max_mb, why=repr(error))
        return False
    return True


def _mapped() -> int:
    """Bytes of address space in use. Raises `OSError` where the system does not tell."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmSize:"):
            return int(line.split()[1]) * 1024
    raise OSError("the system does not say what is mapped")
