"""`python -m proxy.sandbox --port 9000`: the sandbox upstream as a process."""

import argparse
from pathlib import Path

import uvicorn

from proxy.sandbox.app import Sandbox


def main() -> None:
    parser = argparse.ArgumentParser(
        description="A deterministic stand-in for the upstream, on loopback only."
    )
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--journal", type=Path, help="Append one JSON line for each call billed.")
    options = parser.parse_args()
    uvicorn.run(
        Sandbox(options.journal),
        host="127.0.0.1",
        port=options.port,
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=1,  # nobody pays for what it was still writing
    )


if __name__ == "__main__":
    main()
