"""One connection's bytes, without a server."""

import asyncio

import hiredis
import pytest

from billing.meter.connection.protocol import AnswerLost, Elsewhere, RedisConnection, failure_of
from billing.meter.connection.script import pack
from billing.meter.errors import MeteringUnavailable


class Transport(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.written = []

    def write(self, data):
        self.written.append(data)

    def abort(self):
        pass


async def opened():
    connection, transport = RedisConnection(), Transport()
    connection.connection_made(transport)
    return connection, transport


@pytest.mark.parametrize(
    "reply",
    [
        "ERR max number of clients reached",
        "WRONGPASS invalid username-password pair",
        "LOADING Redis is loading",
    ],
)
def test_a_server_that_lets_nobody_in_is_away(reply):
    assert isinstance(failure_of(hiredis.ReplyError(reply)), MeteringUnavailable)


def test_a_fault_of_ours_is_none_of_the_servers():
    assert not isinstance(failure_of(hiredis.ReplyError("ERR unknown command")), MeteringUnavailable)


@pytest.mark.parametrize(
    ("reply", "target"), [("MOVED 3999 10.0.0.1:6381", "10.0.0.1:6381"), ("TRYAGAIN later", "")]
)
def test_a_node_that_says_where_names_its_target(reply, target):
    failure = failure_of(hiredis.ReplyError(reply))

    assert isinstance(failure, Elsewhere)
    assert (failure.kind, failure.target) == (reply.split()[0], target)


async def test_replies_go_to_their_commands_in_order_however_they_are_cut():
    connection, _ = await opened()
    first, second = connection.send(pack(("GET", "a"))), connection.send(pack(("GET", "b")))

    for byte in b":1\r\n-ERR no\r\n":
        connection.data_received(bytes([byte]))

    assert first.result() == 1
    assert isinstance(second.exception(), hiredis.ReplyError)


async def test_commands_nobody_waits_for_share_a_write_with_the_next():
    connection, transport = await opened()
    connection.post(b"a")
    connection.post(b"b")
    assert connection.has_more

    connection.send(b"c")

    assert transport.written == [b"a", b"bc"]


async def test_a_connection_that_is_lost_says_that_open_commands_may_have_been_executed():
    connection, _ = await opened()
    open_command = connection.send(b"a")

    connection.connection_lost(None)

    assert isinstance(open_command.exception(), AnswerLost)
    later = connection.send(b"b").exception()
    assert isinstance(later, MeteringUnavailable)
    assert not isinstance(later, AnswerLost)
