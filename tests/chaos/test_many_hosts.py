"""More than one machine, as far as processes and ports of their own show it: one of each dies under load."""

import signal
import time
from collections.abc import Iterator

import pytest

from tests.chaos.hosts import RABBITMQ, Hosts, running_hosts
from tests.chaos.installation import ledger_rows, make_key, operator_of
from tests.chaos.load import Load
from tests.chaos.report import Finding

pytestmark = [
    pytest.mark.stack,
    pytest.mark.chaos,
    pytest.mark.skipif(not RABBITMQ.exists(), reason="needs RabbitMQ (Debian: apt install rabbitmq-server)"),
]


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with running_hosts() as running:
        yield running


def test_one_of_each_dies_under_load_and_the_books_are_what_the_upstream_billed(hosts: Hosts) -> None:
    with operator_of(hosts) as operator:
        keys = [make_key(operator, f"tenant-{number}") for number in range(6)]  # on several shards and nodes
    with Load(hosts.urls, keys) as load:
        load.wait_for(served=60)
        for name in ("web.2", "ledger.1", "worker.1"):
            hosts.kill(name)
            load.wait_for(served=40)
        node = hosts.cluster.nodes[1]
        node.stop(signal.SIGKILL)
        time.sleep(3)
        node.start()
        hosts.cluster.wait_until_ok()
        load.wait_for(served=60)
    books = hosts.until_quiet(90)
    finding = Finding.of("one of each", load.seen, hosts.billed(), ledger_rows(hosts), books)

    assert load.seen.served >= 200
    assert (finding.missing, finding.wrong, finding.unexplained, finding.short) == (0, 0, 0, 0), finding
    assert books["ok"], books
    assert not [each for each in books["tenants"] if float(each["reserved_usd"])], books
    assert hosts.manage("verify_ledger")
