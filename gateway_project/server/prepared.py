"""Remember what the last start has prepared, so that the next one need not load Django to find out."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import psycopg

from gateway_project.ground import env
from gateway_project.server.embedded import write_private

BASE_DIR = Path(__file__).resolve().parents[2]
_APPLIED = (
    "SELECT coalesce(md5(string_agg(app || '.' || name, ' ' ORDER BY app, name)), '') FROM django_migrations"
)
_LIVE = "SELECT count(*) FROM tenants_apikey WHERE revoked_at IS NULL AND digest = ANY(%s)"


def is_prepared(data: Path, database_url: str) -> bool:
    """Whether code and migrations are the same in this very database, and the demo's keys still work."""
    try:
        noted = json.loads((data / "prepared.json").read_text())
        demo = json.loads((data / "demo.json").read_text())
        return bool(noted == _facts(database_url)) and _keys_work(demo.get("keys", {}), database_url)
    except (OSError, ValueError, psycopg.Error):
        return False


def note_prepared(data: Path, database_url: str) -> None:
    write_private(data / "prepared.json", json.dumps(_facts(database_url)))


def _facts(database_url: str) -> dict[str, Any]:
    with psycopg.connect(database_url, connect_timeout=5) as connection:
        [applied] = connection.execute(_APPLIED).fetchone() or [""]
    return {"code": _code(), "applied": applied, "demo": env.flag("DEMO", default=True)}


def _code() -> str:
    """A digest of what decides about migrations and first rows: our code, and the versions of libraries."""
    files = [BASE_DIR / "requirements" / "base.txt", *BASE_DIR.glob("billing/demo/*.py")]
    files += BASE_DIR.glob("*/migrations/*.py")
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(BASE_DIR)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _keys_work(keys: dict[str, str], database_url: str) -> bool:
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in keys.values()]
    with psycopg.connect(database_url, connect_timeout=5) as connection:
        [live] = connection.execute(_LIVE, [digests]).fetchone() or [0]
    return bool(live == len(keys))


def seen_settings(names: list[str]) -> str:
    """A digest of the settings' source and of the variables that they read."""
    values = "\0".join(f"{name}={os.environ.get(name, '')}" for name in names)
    source = (BASE_DIR / "gateway_project" / "settings.py").read_bytes()
    return hashlib.sha256(values.encode() + source).hexdigest()


def settings_changed(data: Path, seen: str) -> bool:
    """Whether the settings differ from those of the last good start."""
    try:
        return (data / "settings.seen").read_text() != seen
    except OSError:
        return True


def note_settings(data: Path, seen: str) -> None:
    write_private(data / "settings.seen", seen)
