"""What production refuses to start with, and what it starts as."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2]
GOOD = {
    "SECRET_KEY": "k9-Xw7_" * 8,
    "ALLOWED_HOSTS": "gateway.example.com",
    "PUBLIC_URL": "https://gateway.example.com",
}


def check(**environment: str) -> subprocess.CompletedProcess[str]:
    kept = ("PATH", "HOME", "DATABASE_URL", "REDIS_URL")
    return subprocess.run(
        [sys.executable, "-W", "ignore", "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=HOME,
        env={name: os.environ[name] for name in kept if name in os.environ}
        | {"DATA_DIR": "/nonexistent"}
        | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_public_installation_passes_every_deployment_check():
    outcome = check(**GOOD)

    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"SECRET_KEY": "insecure-for-development-only-or-so"}, "SECRET_KEY"),
        ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS"),
        ({"SECRETS_KEYS": "short"}, "SECRETS_KEYS"),
        ({"EZAI_BASE_URL": "http://upstream.example.com"}, "EZAI_BASE_URL"),
        ({"HTTPS": "perhaps"}, "HTTPS"),
        ({"METER_SHARDS": "many"}, "METER_SHARDS"),
        ({"PUBLIC_URL": ""}, "PUBLIC_URL is not set"),
        ({"PUBLIC_URL": "https://elsewhere.example.com"}, "not in ALLOWED_HOSTS"),
        ({"PUBLIC_URL": "http://gateway.example.com"}, "PUBLIC_URL is http"),
        ({"PUBLIC_URL": "gateway.example.com"}, "PUBLIC_URL must look like"),
        ({"PUBLIC_URL": "https://gateway.example.com/portal"}, "PUBLIC_URL must look like"),
        ({"PUBLIC_URL": "https://user@gateway.example.com"}, "PUBLIC_URL must look like"),
        ({"PUBLIC_URL": "https://gateway.example.com:x"}, "PUBLIC_URL must look like"),
        ({"PUBLIC_URL": "javascript://gateway.example.com"}, "PUBLIC_URL must look like"),
    ],
)
def test_it_refuses_insecure_defaults_by_name(environment, said):
    outcome = check(**(GOOD | environment))

    assert outcome.returncode != 0
    assert said in outcome.stderr


def test_on_this_machine_alone_it_runs_without_tls():
    outcome = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            "from gateway_project import settings; print(settings.HTTPS, settings.SESSION_COOKIE_SECURE)",
        ],
        cwd=HOME,
        env={"PATH": os.environ["PATH"], "SECRET_KEY": GOOD["SECRET_KEY"], "DATA_DIR": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert outcome.stdout.split() == ["False", "False"]
