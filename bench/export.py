"""`python -m bench.export [ROWS]`: exports the ledger of the installation at DATA_DIR and measures it."""

import os
import resource
import sys
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
django.setup()

from billing import exports  # noqa: E402


def main() -> None:
    for file_format in ("csv", "csv.gz"):
        export = exports.begin(exports.Filter(), file_format=file_format)
        began, size = time.monotonic(), 0
        for piece in exports.pieces(export):
            size += len(piece)
        seconds = time.monotonic() - began
        export.refresh_from_db()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        print(
            f"{file_format}: {export.rows:,} rows, {size / 1e6:.0f} MB in {seconds:.1f} s: "
            f"{export.rows / seconds:,.0f} rows/s, peak RSS {peak:.0f} MB"
        )


if __name__ == "__main__":
    sys.exit(main())
