"""What can hold a worker on this machine: decided before anything hostile is opened, and written into the evidence.

Full isolation needs Landlock of ABI 6 (Linux 6.12) and seccomp with user notification. Where the kernel has less,
nothing is run unless policy allows a weaker isolation, and then the evidence names each protection that was missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vallum_common.errors import Unavailable
from vallum_validator.domain.evidence import Isolation
from vallum_validator.sandbox.refusals import explained

FULL_LANDLOCK_ABI: Final = 6
"""The first that keeps signals and abstract sockets inside. Source: Linux, Documentation/userspace-api/landlock.rst."""

_SINCE_ABI: Final[Mapping[str, int]] = {
    "FS_REFER": 2,
    "FS_TRUNCATE": 3,
    "NET_TCP": 4,
    "FS_IOCTL_DEV": 5,
    "SIGNAL_SCOPE": 6,
    "ABSTRACT_UNIX_SOCKET_SCOPE": 6,
}
"""The names sandlock gives to Landlock's protections, and the ABI that brought each. Source: as above."""

_MECHANISM: Final = "sandlock"
_NOTHING_HELD: Final = (
    "files: whatever the service's user may read or write",
    "network: not cut off",
    "signals and other processes: not cut off",
    "system calls: not filtered",
)


@dataclass(frozen=True, slots=True)
class Confinement:
    """How a worker will be held.

    Args:
        landlock_abi: of the kernel, 0 where there is none.
        by_sandlock: whether Landlock and seccomp hold it; otherwise it is a plain process with resource limits.
        missing: sandlock's names of the protections this kernel lacks.
    """

    landlock_abi: int
    by_sandlock: bool
    missing: tuple[str, ...] = ()

    def isolation(self) -> Isolation:
        """Return the confinement in the words of the evidence."""
        if not self.by_sandlock:
            return Isolation(mechanism="none", landlock_abi=self.landlock_abi, seccomp=False, degraded=_NOTHING_HELD)
        degraded = tuple(f"Landlock {name}: this kernel has ABI {self.landlock_abi}" for name in self.missing)
        return Isolation(mechanism=_MECHANISM, landlock_abi=self.landlock_abi, seccomp=True, degraded=degraded)


def kernel_landlock_abi() -> int:
    """Return the Landlock version of the running kernel, 0 where there is none or no sandlock for this system."""
    try:
        from sandlock import landlock_abi_version
    except ImportError:
        # Its wheels are for Linux only.
        return 0
    return max(0, int(landlock_abi_version()))


def confinement_for(landlock_abi: int, *, allow_weaker: bool) -> Confinement:
    """Decide how a worker is held on a kernel with this Landlock version.

    Args:
        landlock_abi: 0 where there is none.
        allow_weaker: whether policy accepts less than full isolation.

    Raises:
        Unavailable: full isolation is not to be had and nothing weaker is allowed.
    """
    if landlock_abi >= FULL_LANDLOCK_ABI:
        return Confinement(landlock_abi=landlock_abi, by_sandlock=True)
    if not allow_weaker:
        raise Unavailable(
            explained(
                f"this kernel has Landlock ABI {landlock_abi}, a model is run under {FULL_LANDLOCK_ABI} (Linux 6.12) "
                "or later, unless policy allows a weaker isolation"
            )
        )
    missing = tuple(name for name, since in _SINCE_ABI.items() if since > landlock_abi)
    return Confinement(landlock_abi=landlock_abi, by_sandlock=landlock_abi > 0, missing=missing)


def check_held(isolation: Isolation, reached: tuple[str, ...], *, allow_weaker: bool) -> Isolation:
    """Return the isolation with what the worker, before it opened anything, was seen to reach after all.

    Raises:
        Unavailable: it reached something and nothing weaker is allowed.
    """
    if not reached:
        return isolation
    if not allow_weaker:
        raise Unavailable(f"the sandbox did not hold: a worker could reach {', '.join(reached)}; nothing was run in it")
    degraded = (*isolation.degraded, *(f"{what}: reached by the worker" for what in reached))
    return Isolation(isolation.mechanism, isolation.landlock_abi, isolation.seccomp, degraded)
