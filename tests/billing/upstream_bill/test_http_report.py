"""A bill fetched by HTTP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from billing.tasks import check_upstream_bill
from billing.upstream_bill.http_report import import_report
from billing.upstream_bill.parsing import BadBill
from tests.billing.upstream_bill.test_comparison import DAY, called, checks

pytestmark = pytest.mark.django_db


@contextmanager
def reporting(body: Any, *, status: int = 200, kind: str = "application/json") -> Iterator[dict[str, Any]]:
    """Upstream's report on a real socket; yields its address and what it was asked."""
    seen: dict[str, Any] = {"asked": []}

    class Report(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen["asked"].append((self.path, self.headers["authorization"]))
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Report)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    seen["url"] = f"http://127.0.0.1:{server.server_port}/usage?from={{since}}&to={{until}}"
    yield seen
    server.shutdown()
    server.server_close()


def test_a_report_by_http_is_imported_where_the_settings_say(settings):
    called(3)
    settings.UPSTREAM_BILL_AUTHORIZATION = "Bearer ez-1"
    settings.UPSTREAM_BILL_ROWS = "data.rows"
    rows = [{"date": DAY.isoformat(), "model": "sonnet", "cost": 3.0, "requests": 1}]
    with reporting({"data": {"rows": rows}}) as report:
        settings.UPSTREAM_BILL_URL = report["url"]
        assert check_upstream_bill() == 1

    [(path, authorization)] = report["asked"]
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert path == f"/usage?from={yesterday - timedelta(days=6)}&to={yesterday}"
    assert authorization == "Bearer ez-1"
    assert [ok for *_, ok in checks()] == [True]


def test_a_day_the_report_has_nothing_of_was_billed_at_nothing(settings):
    called(3)
    with reporting({"data": []}) as report:
        settings.UPSTREAM_BILL_URL = report["url"]
        import_report()
    assert checks() == [(DAY, "sonnet", Decimal(0), Decimal(3), False)]


def test_a_report_may_be_a_csv(settings):
    text = f"day,model,cost\n{DAY},sonnet,3\n".encode()
    with reporting(text, kind="text/csv; charset=utf-8") as report:
        settings.UPSTREAM_BILL_URL = report["url"]
        assert import_report().lines == 1


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"data": []}, 500, "HTTP 500"),
        (b"<html>", 200, "neither JSON nor CSV"),
        ({"rows": []}, 200, "no list at 'data'"),
    ],
)
def test_a_report_that_cannot_be_had_or_read_says_why(settings, body, status, told):
    with reporting(body, status=status) as report:
        settings.UPSTREAM_BILL_URL = report["url"]
        with pytest.raises(BadBill, match=told):
            import_report()
