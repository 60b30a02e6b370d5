"""Processes of this machine, as far as they belong to a smoke run."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

MARK = "TENANTRY_SMOKE"  # in the environment of all that a run starts
_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    command: str


def of_run(folder: Path) -> list[Process]:
    """Every living process that was started in or for `folder`, whoever is its parent by now."""
    if not _PROC.is_dir():
        return [each for each in _listed() if str(folder) in each.command and each.pid != os.getpid()]
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and (process := _read(entry, folder)):
            found.append(process)
    return found


def _read(entry: Path, folder: Path) -> Process | None:
    mark = f"{MARK}={folder}".encode()
    try:
        command = (entry / "cmdline").read_bytes()
        # After the name in brackets, which may have blanks in it: state, parent.
        state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        # Servers overwrite their environment with a title; they work in their data's folder.
        mine = mark in (entry / "environ").read_bytes() or os.readlink(entry / "cwd").startswith(str(folder))
    except OSError:  # gone, or another user's
        return None
    if not mine or state == "Z":
        return None
    return Process(int(entry.name), int(parent), command.replace(b"\0", b" ").decode(errors="replace"))


def _listed() -> list[Process]:
    listed = subprocess.run(
        ["ps", "-axww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=True
    )
    rows = (line.split(None, 2) for line in listed.stdout.splitlines())
    return [Process(int(pid), int(parent), rest[0] if rest else "") for pid, parent, *rest in rows]
