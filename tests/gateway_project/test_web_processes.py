"""A web process that ends takes no caller along, and several of them count in one place."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import uvicorn
import uvloop

from gateway_project.ground.http_protocol import BoundedProtocol
from gateway_project.web import Server, is_waited_at, refuse_more
from tests.sandbox import free_port, wait_for_port

HOME = Path(__file__).resolve().parents[2]
# An installation whose stores are not there.
ALONE = {
    "PATH": os.environ["PATH"],
    "SECRET_KEY": "k9-Xw7_" * 8,
    "DATA_DIR": "/nonexistent",
    "DATABASE_URL": "postgresql://127.0.0.1:9/none",
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "HOST": "127.0.0.1",
}
REQUEST = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        listener.setblocking(False)
        yield listener


def caller_of(listener: socket.socket) -> socket.socket:
    caller = socket.create_connection(listener.getsockname(), timeout=10)
    caller.sendall(REQUEST)
    return caller


@pytest.mark.parametrize("owned", [True, False])
def test_who_waits_to_be_accepted_when_a_process_ends_is_answered(owned):
    async def end_with(callers: int) -> list[bytes]:
        server = Server(
            uvicorn.Config(
                app, http=BoundedProtocol, lifespan="off", access_log=False, timeout_graceful_shutdown=5
            ),
            owned=owned,
        )
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        with listening() as listener:
            await server.startup(sockets=[listener])
            # They come in one go: the loop has had no moment to accept one.
            waiting = [caller_of(listener) for _ in range(callers)]
            await server.shutdown(sockets=[listener])
        return [await asyncio.to_thread(caller.recv, 100) for caller in waiting]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers = runner.run(end_with(200))

    assert {answer.split(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 204 No Content"}


@contextlib.contextmanager
def two_web_processes(port: int) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "gateway_project.web"],
        cwd=HOME,
        env=ALONE | {"PORT": str(port), "WEB_WORKERS": "2"},
    )
    try:
        wait_for_port(port, 60)
        yield process
    finally:
        process.terminate()
        process.wait(60)


def until_two_serve(process: "subprocess.Popen[bytes]", port: int) -> list[psutil.Process]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = psutil.Process(process.pid).children()
        with contextlib.suppress(OSError, psutil.Error):
            if len(children) == 2 and all(child.num_threads() > 1 for child in children):
                call(port)
                return children
        time.sleep(0.1)
    raise AssertionError("they did not start")


def call(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as caller:
        caller.sendall(b"GET /healthz HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
        return caller.recv(100)


def test_several_processes_count_in_one_folder_that_goes_with_them():
    port = free_port()
    with two_web_processes(port) as process:
        folders = {child.environ()["PROMETHEUS_MULTIPROC_DIR"] for child in until_two_serve(process, port)}
        there = [Path(folder).is_dir() for folder in folders]

    assert there == [True]
    assert not Path(folders.pop()).exists()


def test_several_processes_that_end_take_no_callers_any_more():
    port = free_port()
    with two_web_processes(port) as process:
        until_two_serve(process, port)
        # A call under way: its body has not come yet.
        with socket.create_connection(("127.0.0.1", port), timeout=30) as under_way:
            under_way.sendall(b"POST /healthz HTTP/1.1\r\nhost: here\r\ncontent-le")
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 30
            refused = False
            while not refused and time.monotonic() < deadline and process.poll() is None:
                try:
                    call(port)
                    time.sleep(0.05)
                except ConnectionRefusedError:
                    refused = True
            still_there = process.poll() is None
            under_way.sendall(b"ngth: 0\r\nconnection: close\r\n\r\n")
            answer = under_way.recv(100)

    assert (refused, still_there) == (True, True)
    assert answer.startswith(b"HTTP/1.1 405")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a queue of none has room for one")
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_who_is_in_the_queue_is_served_and_nobody_else_gets_in(family, host):
    with socket.create_server((host, 0), family=family) as listener:
        address = listener.getsockname()[:2]
        with socket.create_connection(address, timeout=5) as early:
            refuse_more([listener])

            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.5)
            served, _ = listener.accept()
            early.sendall(b"hello")
            assert served.recv(5) == b"hello"
            served.close()
        assert not is_waited_at([listener])
