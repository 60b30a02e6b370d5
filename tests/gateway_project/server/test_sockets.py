"""Where sockets are: short, private, always the same."""

import stat

import pytest

from gateway_project.server.sockets import private_folder, socket_below


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """A folder too deep for a socket, and a runtime folder of our own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    return tmp_path / ("x" * 120)


def test_a_short_folder_for_sockets_is_private_and_always_the_same(deep):
    folder = private_folder(deep)

    assert folder.parent == deep.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert socket_below(deep, "redis.sock").parent == private_folder(deep) == folder


def test_a_short_folder_that_others_may_enter_is_not_used(deep):
    open_one = private_folder(deep)
    open_one.chmod(0o777)

    folder = private_folder(deep)

    assert folder != open_one
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_planted_link_is_not_followed(deep):
    theirs = deep.parent / "theirs"
    theirs.mkdir(mode=0o700)
    link = private_folder(deep)
    link.rmdir()
    link.symlink_to(theirs)

    assert private_folder(deep).resolve() != theirs
