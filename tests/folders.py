"""Where servers that live as long as a test keep their data."""

import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM = 1 << 30


def throwaway_folder(prefix: str) -> Path:
    """A new one that a server's own user may enter; in memory where there is room, so that a sync costs nothing."""
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if roomy else "/tmp"))
    folder.chmod(0o755)
    return folder
