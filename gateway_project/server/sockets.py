"""Unix sockets below DATA_DIR."""

import hashlib
from pathlib import Path

LONGEST = 100  # the kernel takes 107 bytes


def socket_below(folder: Path, name: str) -> Path:
    """`folder/name`, or a name of its own below /tmp where that path is too long for the kernel."""
    path = folder / name
    if len(str(path)) <= LONGEST:
        return path
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return Path("/tmp") / f"tenantry-{digest}-{name}"  # noqa: S108 - the digest is of a private path
