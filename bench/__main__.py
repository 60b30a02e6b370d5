"""`make bench`: everything side by side, on this machine. `python -m bench --help` for parts of it."""

import argparse
import os
import platform
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

from bench import breakdown, drain, export, fairness, json_calls, ledger, scale, sse, webhooks
from bench.table import Table, write

PARTS = {
    "json": json_calls.beside_a_bare_proxy,
    "stages": breakdown.by_stage,
    "streams": sse.beside_a_bare_proxy,
    "slow-streams": sse.many_slow_ones,
    "memory": scale.memory,
    "tenants": scale.tenants,
    "windows": scale.windows,
    "workers": scale.workers,
    "bodies": scale.bodies,
    "fairness": fairness.beside_a_noisy_tenant,
    "webhooks": webhooks.beside_endpoints_that_hang,
    "export": export.of_a_million_rows,
    "ledger": ledger.what_is_asked,
    "drain": drain.throughput_and_lag,
}
PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--seconds", type=float, default=6, help="of each run")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    print(machine(), "\n")
    failed = []
    for name in options.parts or PARTS:
        began = time.monotonic()
        try:
            tables: list[Table] = PARTS[name](options.seconds)
        except Exception:
            # The other parts are still of use; the exit code says that one failed.
            traceback.print_exc()
            failed.append(name)
            continue
        text = "\n".join(table.markdown() for table in tables)
        print(text)
        print(f"({name}: {time.monotonic() - began:.0f} s)\n", flush=True)
        if options.write:
            write(PAGE, name, f"{text}\n{machine()}\n")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def machine() -> str:
    """Where and when it ran. Figures of runs that differ in this cannot be compared."""
    now = datetime.now(UTC)
    return (
        f"*{now:%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f}*"
    )


if __name__ == "__main__":
    main()
