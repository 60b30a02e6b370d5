"""Long files over a real connection."""

import http.client
import threading
import time
from urllib.request import urlopen

import pytest
import uvicorn
from django.core.asgi import get_asgi_application
from django.urls import path

from gateway_project.ground.streamed import streamed

pytestmark = pytest.mark.django_db(transaction=True)


def whole():
    for _ in range(100):
        yield b"x" * 10_000


def broken():
    yield b"x" * 10_000
    raise RuntimeError("the database went away")


first_arrived = threading.Event()


def slow():
    yield b"first"
    yield b" second" if first_arrived.wait(10) else b" nobody got the first"


def file_of(pieces):
    return lambda request: streamed(request, pieces, content_type="text/csv", filename="usage.csv")


urlpatterns = [path(pieces.__name__, file_of(pieces)) for pieces in (whole, broken, slow)]


@pytest.fixture
def server(settings):
    settings.ROOT_URLCONF = __name__
    config = uvicorn.Config(get_asgi_application(), port=0, log_level="critical", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    running.should_exit = True
    thread.join()


def test_a_file_arrives_whole(server):
    with urlopen(f"{server}/whole") as answer:
        assert len(answer.read()) == 1_000_000
        assert answer.headers["Content-Disposition"] == 'attachment; filename="usage.csv"'


def test_a_file_that_breaks_off_does_not_look_whole(server):
    with urlopen(f"{server}/broken") as answer, pytest.raises(http.client.IncompleteRead):
        answer.read()


def test_the_first_piece_leaves_before_the_second_is_made(server):
    with urlopen(f"{server}/slow") as answer:
        assert answer.read(5) == b"first"
        first_arrived.set()
        assert answer.read() == b" second"
