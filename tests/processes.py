"""Code in a process of its own, on the test's database: for what is killed in the middle."""

import os
import subprocess
import sys
from urllib.parse import urlsplit, urlunsplit

from django.db import connection


def run(code: str, **environment: str) -> int:
    """How the process ended; -9 is killed. Django is set up before `code` begins."""
    database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import django\ndjango.setup()\n{code}"],
        env={**os.environ, "DATABASE_URL": urlunsplit(database), **environment},
    ).returncode
