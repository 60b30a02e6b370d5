"""Where servers that live as long as a test keep their data."""

import shutil
import tempfile
from pathlib import Path

from gateway_project.server.server_account import server_account, share_with

_MEMORY = Path("/dev/shm")
_ROOM = 1 << 30


def throwaway_folder(prefix: str) -> Path:
    """A new one that PostgreSQL's user may pass; in memory where there is room, so that a sync costs nothing."""
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if roomy else "/tmp"))
    share_with(server_account(), folder)
    return folder
