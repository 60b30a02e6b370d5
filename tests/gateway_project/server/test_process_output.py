import pytest

from gateway_project.server.process_output import LARGEST, Fold, ProcessLog, bound, reason

TRACEBACK = """\
Traceback (most recent call last):
  File "kombu/connection.py", line 535, in _reraise_as_library_errors
    yield
ValueError: first

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "kombu/transport/redis.py", line 12, in <module>
    from packaging.version import Version
    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
ModuleNotFoundError: No module named 'packaging'"""

MISSING = "No module named 'packaging'. Install again: rm .venv/installed && make up."


def shown(text: str) -> list[str]:
    fold = Fold()
    return [line for line in map(fold.shown, text.splitlines()) if line]


def test_of_a_traceback_only_its_ends_are_shown():
    assert shown(f"begins\n{TRACEBACK}\ngoes on") == [
        "begins",
        "ValueError: first",
        "ModuleNotFoundError: No module named 'packaging'",
        "goes on",
    ]


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        (TRACEBACK, 1, MISSING),
        (
            "Traceback (most recent call last):\n  x\n"
            "django.core.exceptions.ImproperlyConfigured: SECRET_KEY must be set.",
            1,
            "SECRET_KEY must be set. Change that setting and start again.",
        ),
        ("Traceback (most recent call last):\n  x\nKeyError: 'x'", 1, "KeyError: 'x'."),
        (f"{TRACEBACK}\nworker: Cold shutdown", 1, MISSING),
        ("the disk is full", 2, "the disk is full."),
        ("", -9, "it was stopped by signal 9 and printed nothing."),
        ("", 3, "it exited with 3 and printed nothing."),
    ],
)  # fmt: skip
def test_why_a_process_ended_is_one_line_that_says_what_to_do(said, code, told):
    fold = Fold()
    for line in said.splitlines():
        fold.shown(line)

    assert reason(fold.last, code) == told


def test_a_log_has_everything_and_a_bound(tmp_path):
    log = ProcessLog(tmp_path / "logs" / "web.log")
    log.write("first")
    log.write("x" * LARGEST)
    log.write("last")
    log.close()

    assert log.file.read_text() == "last\n"
    assert (tmp_path / "logs" / "web.log.1").read_text().startswith("first\n")


def test_what_a_server_writes_itself_has_the_bound_too(tmp_path):
    log = tmp_path / "redis.log"
    with log.open("ab") as server:
        server.write(b"x" * (LARGEST + 1))
        server.flush()

        bound(log)
        server.write(b"after")
        server.flush()

    assert log.read_bytes() == b"after"
