"""Exports of a large ledger: rows a second and memory, each format in a process of its own."""

import json
import os
import subprocess
import sys
import time

from bench.ledger import a_large_ledger
from bench.servers import HOME
from bench.table import Table

ROWS = 1_000_000
_FORMATS = ("csv", "csv.gz", "parquet")


def of_a_million_rows(seconds: float) -> list[Table]:
    rows: list[list[object]] = []
    with a_large_ledger(ROWS) as environment:
        for file_format in _FORMATS:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "bench.export", file_format],
                cwd=HOME, env=environment, capture_output=True, text=True, check=True,
            )  # fmt: skip
            rows.append([file_format, *json.loads(done.stdout)])
    header = ["format", "rows", "MB", "seconds", "rows/s", "CPU µs a row", "first byte s", "peak RSS MB"]
    note = "CPU is of the exporting process; PostgreSQL uses some 5 µs a row beside it."
    return [Table("Exports", header, rows, note)]


def measure(file_format: str) -> None:
    """Run one export of about a million rows on the installation in the environment, and drop the file."""
    import resource

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
    django.setup()
    from billing.exports import export as exports
    from billing.models import UsageRecord

    newest = UsageRecord.objects.order_by("-created_at").values_list("created_at", flat=True)
    since = newest[ROWS - 1 : ROWS].first()
    export = exports.begin(exports.Filter(since=since), file_format=file_format)
    began, cpu, size, first = time.monotonic(), time.process_time(), 0, 0.0
    for piece in exports.pieces(export):
        first = first or time.monotonic() - began
        size += len(piece)
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    export.refresh_from_db()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    count = export.rows or 0
    print(json.dumps([count, size / 1e6, took, count / took, cpu / count * 1e6, first, peak]))


if __name__ == "__main__":
    measure(sys.argv[1])
