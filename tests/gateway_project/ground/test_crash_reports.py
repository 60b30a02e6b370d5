"""What a crash report carries, and what it never does."""

import json
import logging
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.transport import Transport

from gateway_project.ground.crash_reports import report_to

KEY = "tn_" + "k" * 43


class Kept(Transport):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__({})
        self.sent: list[Any] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.sent += [item.payload.json for item in envelope.items if item.type == "event"]


@pytest.fixture
def reports():
    transport = Kept()
    report_to("http://public@127.0.0.1/1", transport=transport)
    yield transport.sent
    sentry_sdk.init()


def test_a_crash_is_reported_without_keys_and_locals(reports):
    try:
        secret = KEY
        raise ValueError(f"{secret} is wrong")
    except ValueError:
        logging.getLogger("tenantry.test").exception("It failed for %s", KEY)

    [report] = reports
    assert report["exception"]["values"][0]["type"] == "ValueError"
    assert KEY not in json.dumps(report)
