"""What is wrong is said in one sentence, before anything is started."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.exceptions import ImproperlyConfigured

from gateway_project.server import preflight
from gateway_project.server.preflight import (
    UpError,
    _variables,
    check_values,
    listen,
    open_data_folder,
    secret_key,
    variable_names,
)

HOME = Path(__file__).resolve().parents[3]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PORT", "abc", "PORT must be a whole number from 1 to 65535, not 'abc'."),
        ("PORT", "99999", "PORT must be a whole number from 1 to 65535, not '99999'."),
        ("PORT", "0", "PORT must be a whole number from 1 to 65535, not '0'."),
        ("WEB_WORKERS", "0", "WEB_WORKERS must be a whole number from 1 to 256, not '0'."),
        ("WEB_WORKERS", "-1", "WEB_WORKERS must be a whole number from 1 to 256, not '-1'."),
        ("WEB_WORKERS", "two", "WEB_WORKERS must be a whole number from 1 to 256, not 'two'."),
        ("METER_SHARDS", "0", "METER_SHARDS must be a whole number from 1 to 16384, not '0'."),
        ("DATABASE_POOL_SIZE", "0", "DATABASE_POOL_SIZE must be a whole number from 1 to 10000, not '0'."),
        ("PORT", "８０００", "PORT must be a whole number from 1 to 65535, not '８０００'."),
        ("PORT", "8_000", "PORT must be a whole number from 1 to 65535, not '8_000'."),
        ("PORT", "9" * 5000, f"PORT must be a whole number from 1 to 65535, not '{'9' * 60}…'."),
        (
            "BODY_LIMIT_BYTES",
            "-1",
            "BODY_LIMIT_BYTES must be a whole number from 1024 to 1000000000000, not '-1'.",
        ),
        (
            "UPSTREAM_READ_TIMEOUT",
            "0",
            "UPSTREAM_READ_TIMEOUT must be a whole number from 1 to 86400, not '0'.",
        ),
        ("EMAIL_PORT", "1e3", "EMAIL_PORT must be a whole number from 1 to 65535, not '1e3'."),
        (
            "SHUTDOWN_GRACE_SECONDS",
            "-5",
            "SHUTDOWN_GRACE_SECONDS must be a whole number from 0 to 3600, not '-5'.",
        ),
        ("BILL_TOLERANCE_USD", "1e999999", "BILL_TOLERANCE_USD must be a number, 0 or more, not '1e999999'."),
        ("EZAI_BASE_URL", "rubbish", "EZAI_BASE_URL must look like https://api.example.com, not 'rubbish'."),
        (
            "EZAI_BASE_URL",
            "http://[x",
            "EZAI_BASE_URL must look like https://api.example.com, not 'http://[x'.",
        ),
        ("PUBLIC_URL", "rubbish", "PUBLIC_URL must look like https://gateway.example.com, not 'rubbish'."),
        (
            "UPSTREAM_BILL_FIELDS",
            "a=b,c",
            "UPSTREAM_BILL_FIELDS must look like one=this,two=that, but contains 'c'.",
        ),
        (
            "UPSTREAM_TRACKING_HEADERS",
            "=x",
            "UPSTREAM_TRACKING_HEADERS must look like one=this,two=that, but contains '=x'.",
        ),
        ("ACCESS_LOG", "2", "ACCESS_LOG must be a number from 0 to 1, not '2'."),
        ("ACCESS_LOG", "lots", "ACCESS_LOG must be a number from 0 to 1, not 'lots'."),
        ("LOG_FORMAT", "xml", "LOG_FORMAT must be text or json, not 'xml'."),
        ("DEMO", "maybe", "DEMO must be 1 or 0, not 'maybe'."),
        ("HTTPS", "perhaps", "HTTPS must be 1 or 0, not 'perhaps'."),
    ],
)
def test_a_value_that_cannot_be_is_named(monkeypatch, name, value, told):
    monkeypatch.setenv(name, value)

    with pytest.raises(ImproperlyConfigured) as refused:
        check_values()

    assert str(refused.value) == told


def test_a_number_has_bounds_wherever_one_is_read():
    unbounded = [
        str(arguments[0])
        for reader, arguments, bounds in _variables(preflight.SETTINGS.read_text())
        if reader == "integer" and bounds.keys() != {"least", "most"}
    ]

    assert unbounded == []


def test_an_empty_secret_key_is_said_to_be_so_and_stays(tmp_path):
    (tmp_path / "secret_key").touch()

    with pytest.raises(UpError, match="secret_key is empty"):
        secret_key(tmp_path)

    assert (tmp_path / "secret_key").read_text() == ""


def test_spaces_alone_are_an_empty_value(monkeypatch):
    for name in ("PORT", "ACCESS_LOG", "LOG_FORMAT", "DEMO"):
        monkeypatch.setenv(name, "  ")

    check_values()


def test_every_kind_of_variable_of_the_settings_is_known():
    assert {"PORT", "DEBUG", "ALLOWED_HOSTS", "DATABASE_URL", "DATA_DIR", "SECRET_KEY"} <= set(
        variable_names()
    )


@pytest.mark.parametrize(
    "bad",
    [
        {"DEMO": "maybe"},
        {"PORT": "abc"},
        {"DATA_DIR": "/proc/tenantry"},
        {"DATA_DIR": "~nobody-here/data"},
        {"DATA_DIR": str(HOME / "manage.py")},
        {"DATA_DIR": str(HOME / "manage.py" / "data")},
        {"BEGAN": "x"},
    ],
)
def test_make_up_ends_with_one_line_and_leaves_nothing(tmp_path, bad):
    ours = ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"DATA_DIR": str(tmp_path / "data")} | bad

    done = subprocess.run(
        [sys.executable, "-m", "gateway_project.up"],
        cwd=HOME,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("make up: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_a_port_that_is_taken_names_who_has_it(monkeypatch):
    monkeypatch.setattr(preflight, "_PORT_SECONDS", 0)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(UpError, match=rf"Port {port} is taken by .*\(process {os.getpid()}\)\. Stop"):
            listen(port)


def test_a_port_that_wants_rights_says_so(monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("gateway_project.server.preflight.socket.socket.bind", refuse, raising=False)

    with pytest.raises(UpError, match=r"Only root can use port 80 here\. Choose a port from 1024 up"):
        listen(80)


def test_a_second_one_in_the_same_folder_is_told_who_holds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PORT", "8123")

    with open_data_folder(tmp_path), pytest.raises(UpError) as refused:
        open_data_folder(tmp_path)

    assert f"process {os.getpid()}, port 8123, since " in str(refused.value)


def test_a_folder_we_make_is_nobody_elses(tmp_path):
    data = tmp_path / "with spaces and ü" / "data"

    with open_data_folder(data):
        assert mode(data) & 0o007 == 0
        assert not mode(data / "up.lock") & 0o022


def test_a_folder_that_was_there_keeps_its_permissions_and_what_we_left_in_it_is_closed(tmp_path):
    data = tmp_path / "data"
    (data / "redis").mkdir(parents=True)
    (data / "theirs").mkdir()
    (data / "postgres.url").write_text("")
    for path, bits in (
        (data, 0o755),
        (data / "redis", 0o755),
        (data / "theirs", 0o755),
        (data / "postgres.url", 0o644),
    ):
        path.chmod(bits)

    with open_data_folder(data):
        assert mode(data) == mode(data / "theirs") == 0o755
        assert (mode(data / "redis"), mode(data / "postgres.url")) == (0o700, 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_an_installation_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "secret_key").write_text("x")
    os.chown(tmp_path / "secret_key", 65534, -1)

    with pytest.raises(
        UpError, match=r"belongs to nobody, who started Tenantry there before\. Start it as nobody"
    ):
        open_data_folder(tmp_path)


def test_a_disk_without_room_is_named(tmp_path, monkeypatch):
    full = SimpleNamespace(total=10**9, used=10**9, free=20 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)

    with pytest.raises(UpError, match="Only 20 MB are free"):
        open_data_folder(tmp_path)
