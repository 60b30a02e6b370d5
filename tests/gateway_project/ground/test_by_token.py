"""What all tenants share is read once for each shard's token, and never kept for long after."""

import pytest

from gateway_project.ground.by_token import ByToken
from gateway_project.ground.redis_keys import SHARDS


@pytest.fixture
def read():
    return []


@pytest.fixture
def shared(read):
    return ByToken(lambda token: read.append(token) or f"as of {token}")


def test_it_is_read_when_it_is_first_asked_for(shared, read):
    assert shared.known("a") is None
    assert [shared.get("a"), shared.get("a"), shared.known("a")] == ["as of a"] * 3
    assert read == ["a"]


def test_shards_that_ask_by_turns_are_each_read_once(shared, read):
    tokens = [f"shard {number}" for number in range(SHARDS)]

    for _ in range(3):
        assert [shared.get(token) for token in tokens] == [f"as of {token}" for token in tokens]

    assert read == tokens


def test_what_is_out_of_date_goes(shared):
    for number in range(2 * SHARDS + 1):
        shared.get(str(number))

    assert shared.known("0") is None
    assert shared.known("1") == "as of 1"


def test_a_failure_is_not_kept(read):
    def away(token):
        read.append(token)
        raise OSError("away")

    shared = ByToken(away)
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            shared.get("a")
    assert read == ["a", "a"]
