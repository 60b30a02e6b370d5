"""Every line of every process: JSON where LOG_FORMAT says so, and never a secret."""

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway_project.ground import logs
from gateway_project.ground.logs import JsonFormatter, redacted

HOME = Path(__file__).resolve().parents[3]
PASSWORD = "correct-horse-battery"
SECRETS = {
    "a key": "tn_abcdefghijklmnop",
    "a webhook's secret": "whsec_abcdefghijklmnop",
    "a bearer": "Authorization: Bearer abcdefghijklmnop",
    "an operator's token": "{'authorization': 'Token 0123456789abcdef0123456789abcdef01234567'}",
    "basic": "authorization=Basic dXNlcjpwYXNzd29yZA==",
    "a raw header": "[(b'authorization', b'abcdefghijklmnop')]",
    "a database": f"postgresql://tenantry:{PASSWORD}@db.internal:5432/tenantry",
    "a store": f"rediss://:{PASSWORD}@redis.internal/0",
    "a setting": f"connection failed: password='{PASSWORD}' host=db",
}
HIDDEN = ("abcdefghijklmnop", "0123456789abcdef01", "dXNlcjpw", PASSWORD)


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS)
def test_a_secret_is_cut_out_of_text_and_json(text):
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "%s", (text,), None)
    record.headers = [("authorization", text)]
    for line in (redacted(text), JsonFormatter().format(record)):
        assert not any(secret in line for secret in HIDDEN), line
        assert "[redacted]" in line
    json.loads(JsonFormatter().format(record))


@pytest.mark.parametrize(
    "text",
    [
        "the token was refused",
        "password=None",
        "http://127.0.0.1:8000/v1/messages",
        "Authorization: missing",
        "basic tier",
        "2026-11-29 a plain line: nothing to see",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redacted(text) == text


def run(code: str, **environment: str) -> list[str]:
    """The lines of a process of ours that does `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"from gateway_project.ground import logs\nlogs.begin()\n{code}"],
        cwd=HOME,
        env={**os.environ, "LOG_FORMAT": "json", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return (done.stdout + done.stderr).splitlines()


ENDS = {
    "uncaught": f"raise RuntimeError('postgresql://u:{PASSWORD}@h/d')",
    "in a thread": f"import threading\ndef f(): raise RuntimeError('tn_abcdefghijklmnop {PASSWORD[:0]}')\n"
    "t = threading.Thread(target=f); t.start(); t.join()",
    "a warning": "import warnings; warnings.warn('Bearer abcdefghijklmnop')",
    "in a destructor": "class A:\n    def __del__(self): raise RuntimeError('whsec_abcdefghijklmnop')\nA()",
    "in a task": "import asyncio, gc\nasync def f(): raise RuntimeError('tn_abcdefghijklmnop')\n"
    "async def g():\n    t = asyncio.create_task(f()); await asyncio.sleep(0); await asyncio.sleep(0)\n"
    "    del t; gc.collect()\nasyncio.run(g())",
}


@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS)
def test_what_goes_past_loggers_is_a_line_as_well(code):
    lines = run(code)

    assert lines
    for line in lines:
        assert {"time", "level", "logger", "message"} <= set(json.loads(line))
        assert not any(secret in line for secret in HIDDEN)
        assert "[redacted]" in line


def test_text_is_redacted_too():
    text = "\n".join(run(ENDS["uncaught"], LOG_FORMAT="text"))

    assert "Traceback" in text
    assert PASSWORD not in text


def test_a_childs_line_stays_json_and_says_whose_it_is(monkeypatch):
    monkeypatch.setenv("LOG_FORMAT", "json")
    for line in ('{"level":"ERROR","message":"x"}', "Segmentation fault", "[1, 2]", "tn_abcdefghijklmnop"):
        found = json.loads(logs.relayed("web.1", line, label="web.1 |"))
        assert "web.1" in (found.get("process"), found.get("logger"))
        assert "abcdefghijklmnop" not in str(found)


def processes() -> dict[str, list[str]]:
    celery = ["-m", "celery", "-A", "gateway_project"]
    return {
        "web": ["-m", "gateway_project.web"],
        "several webs": ["-m", "gateway_project.web"],
        "ledger": ["manage.py", "ledger"],
        "worker": [*celery, "worker", "--loglevel", "warning", "--concurrency", "1"],
        "beat": [*celery, "beat", "--loglevel", "warning", "--schedule", "/nonexistent/beat"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", processes())
def test_every_line_of_every_process_is_json_while_everything_is_away(name, tmp_path):
    """Both stores are at an address where nothing listens, with passwords that must not be shown."""
    environment = {
        **os.environ,
        "LOG_FORMAT": "json",
        "DATA_DIR": str(tmp_path),
        "SECRET_KEY": "a-secret-key-of-thirty-two-letters-and-more",
        "DATABASE_URL": f"postgresql://tenantry:{PASSWORD}@127.0.0.1:1/tenantry",
        "REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:1/0",
        "CELERY_BROKER_URL": f"redis://:{PASSWORD}@127.0.0.1:1/0",
        "HOST": "127.0.0.1",
        "PORT": "0",
        "WEB_WORKERS": "2" if name == "several webs" else "1",
        "SHUTDOWN_GRACE_SECONDS": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "default",
    }
    running = subprocess.Popen(
        [sys.executable, *processes()[name]],
        cwd=HOME, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    first = running.stdout.readline()
    threading.Timer(8, running.terminate).start()
    output, _ = running.communicate(timeout=60)

    lines = (first + output).splitlines()
    assert lines
    for line in lines:
        assert {"level", "message"} <= set(json.loads(line)), line
    assert PASSWORD not in first + output


def test_a_process_that_cannot_be_configured_says_so_in_json(tmp_path):
    for command in (["-m", "gateway_project.web"], ["manage.py", "ledger"]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=HOME,
            env={**os.environ, "LOG_FORMAT": "json", "SHUTDOWN_GRACE_SECONDS": "soon", "LISTEN_FD": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1
        for line in (done.stdout + done.stderr).splitlines():
            assert "level" in json.loads(line), line
        assert "SHUTDOWN_GRACE_SECONDS" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "key tn_abcdefghijklmnop was shown",
        "Authorization: Bearer abcdefghijklmnop",
        "{'x-api-key': 'abcdefghijklmnop'}",
        "secret whsec_abcdefghijklmnop",
        "sk-ant-abcdefghijklmnop",
        "token tnop_abcdefghijklmnop",
        "Not Found: /portal/join/abcdefghijklmnop/",
        "Not Found: /portal/email/abcdefghijklmnop:1xKd2:x/",
        "Not Found: /portal/password/Mq/abcdefghijklmnop/",
    ],
)
def test_no_secret_is_written(text):
    record = logging.LogRecord("x", logging.ERROR, "", 0, text, None, None)
    record.tenant = text
    assert "abcdefghijklmnop" not in redacted(text)
    assert "abcdefghijklmnop" not in JsonFormatter().format(record)
    assert json.loads(JsonFormatter().format(record))["level"] == "ERROR"
