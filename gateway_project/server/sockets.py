"""Unix sockets: below DATA_DIR, or in a short private folder if that path is too long for the kernel."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

LONGEST = 100  # bytes; Linux allows 107, macOS 103
_PRIVATE = 0o700


def socket_below(folder: Path, name: str) -> Path:
    """Where the socket `name` of `folder` is, in a folder that nobody else may enter."""
    return folder / name if fits(folder, name) else private_folder(folder) / name


def private_folder(folder: Path, *, owner: int | None = None) -> Path:
    """A short folder that stands for `folder`, made if needed, private to `owner` or else to this user.

    It is always the same one, unless somebody else has made something of that name.
    """
    user = os.getuid() if owner is None else owner
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    runtime = _runtime_folder(shared=user != os.getuid())
    short = runtime / f"tenantry-{user}-{digest}"
    try:
        short.mkdir(mode=_PRIVATE)
    except FileExistsError:
        found = short.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077:
            return short
        short = Path(tempfile.mkdtemp(prefix="tenantry-", dir=runtime))
    os.chown(short, user, -1)
    return short


def fits(folder: Path, name: str) -> bool:
    """Whether the kernel and PostgreSQL's clients accept this socket's path."""
    # A comma separates hosts in PostgreSQL's addresses.
    return len(os.fsencode(folder / name)) <= LONGEST and "," not in str(folder)


def _runtime_folder(*, shared: bool) -> Path:
    """A folder that nobody else may write to; with `shared`, one that everybody may enter, such as /tmp, where others
    cannot remove ours.
    """
    given = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent")
    for candidate in (given, Path("/run")):
        try:
            found = candidate.stat()
        except OSError:
            continue
        private = found.st_uid == os.getuid() and not found.st_mode & 0o022
        if private and (found.st_mode & 0o001 or not shared):
            return candidate
    return Path(tempfile.gettempdir())
