"""The doors of the product, each gone through from outside."""

import csv
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from tests.smoke.installation import Installation, eventually
from tests.smoke.receiver import Receiver
from tests.smoke.visitor import Answer, DoorFailed, Visitor, found

MODEL = "claude-sonnet-4-20250514"
# 1,000 tokens in and 50 out cost 0.00375 USD; the text is as long as they would be.
PRICED = "[[sandbox input_tokens=1000 output_tokens=50]] " + "word " * 1200
EAST = "Pacific/Kiritimati"  # 14 hours before UTC: a month that ends tomorrow in the west is over there


def ask(*, wire: str = "anthropic", stream: bool = False, text: str = "Hello") -> tuple[str, dict[str, Any]]:
    """Path and body of a call."""
    path = "/v1/messages" if wire == "anthropic" else "/v1/chat/completions"
    body = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": text}]}
    return path, {**body, "stream": True} if stream else body


class Doors:
    """Those that every installation has. `host` is its public name, if it has one."""

    def __init__(self, installation: Installation, receiver: Receiver, *, host: str = "") -> None:
        self.installation, self.receiver, self.host = installation, receiver, host
        self.visitor = Visitor(installation.port, host)
        self.key = ""
        self.request_id = ""

    def browser(self) -> Visitor:
        """With cookies of its own."""
        return Visitor(self.installation.port, self.host)

    def call(self, **what: Any) -> Answer:
        path, body = ask(**what)
        return self.visitor.post(path, body, x_api_key=self.key).expect(200)

    def json_call(self) -> None:
        answer = self.call()
        if answer.json()["content"][0]["type"] != "text" or "x-tenantry-cost-usd" not in answer.headers:
            raise DoorFailed(f"no answer or no cost: {answer.text[:200]} {answer.headers}")
        self.request_id = answer.headers["request-id"]

    def openai_call(self) -> None:
        if not self.call(wire="openai").json()["choices"][0]["message"]["content"]:
            raise DoorFailed("an answer without content")

    def stream(self) -> None:
        found("(message_stop)", self.call(stream=True).text, what="the end of an Anthropic stream")
        found(
            r"(data: \[DONE\])",
            self.call(wire="openai", stream=True).text,
            what="the end of an OpenAI stream",
        )

    def receipt(self) -> None:
        path = f"/v1/requests/{self.request_id}"
        self.eventually(
            lambda: self.visitor.get(path, x_api_key=self.key).status == 200, "the receipt in the ledger"
        )

    def csv_export(self, username: str, password: str) -> None:
        """By a session of the console: log in, fill in the form, read the file."""
        console = self.browser()
        console.log_in("/admin/login/?next=/admin/", username, password)
        console.get("/admin/").expect(200)
        answer = console.submit("/admin/billing/usageexport/add/", format="csv").expect(200)
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        if self.request_id not in [row.get("request_id") for row in rows]:
            raise DoorFailed(f"{self.request_id} is not among the {len(rows)} rows of: {answer.text[:300]}")

    def modules_and_commands(self) -> None:
        """Every module imports and every command answers; what is optional names its extra."""
        self.installation.python("tests/smoke/inside.py", DEBUG="1")
        self.installation.manage("ledger", "--help")

    def books(self) -> None:
        self.installation.manage("check_books")
        self.installation.manage("verify_ledger")

    def eventually(self, question: Callable[[], Any], what: str, *, seconds: float = 120) -> Any:
        def asked() -> Any:
            self.installation.look()
            return question()

        return eventually(asked, what=what, seconds=seconds)

    def events(self, kind: str, secret: str, *, wanted: int = 1) -> None:
        self.eventually(
            lambda: len(self.receiver.events(kind, secret=secret)) >= wanted, f"{wanted} webhooks {kind}"
        )


class DemoDoors(Doors):
    """What `make up` alone starts: its greeting has all that is needed."""

    def greeting(self) -> None:
        text = self.installation.written()
        self.key = found(r"acme-corp\s+(tn_\S+)", text, what="the demo's key")
        self.admin = found(r"/admin/.*?password (\S+)", text, what="the console's password")
        self.portal = found(r"/portal/.*?password (\S+)", text, what="the portal's password")
        command = found(r"(curl -i (?:.*\\\n)*.*)", text, what="the curl")
        if shutil.which("curl"):
            ran = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
            found(r"HTTP/1.1 (200)", ran.stdout, what="the printed curl's answer")

    def portal_test_event(self) -> None:
        """An owner adds an endpoint and presses 'Send test'; the event arrives, signed."""
        portal = self.browser()
        portal.log_in("/portal/login/", "portal", self.portal)
        home = portal.get("/portal/").expect(302).headers["location"]
        page = f"{home}webhooks/"
        shown = portal.submit(page, url=f"http://{self.receiver.host}/portal", events=[]).expect(200)
        secret = found(r"(whsec_[A-Za-z0-9+/=]+)", shown.text, what="the endpoint's secret")
        action = found(r'action="([^"]+/test/)"', portal.get(page).text, what="the test button")
        portal.press(page, action).expect(302)
        self.events("webhook.test", secret)


class OperatorDoors(Doors):
    """An installation without a demo: an operator makes a tenant, its month passes a threshold and is closed."""

    def operator(self) -> None:
        self.account = self.installation.operator("smoke")
        self.token = f"Token {self.account['token']}"

    def tenant(self) -> None:
        """In the zone furthest west, with a billing day that comes tomorrow there."""
        now = datetime.now(UTC)
        # One zone further where midnight is near: the calls must not pass it.
        behind = 12 if (now - timedelta(hours=12)).hour < 23 else 11
        tomorrow = (now - timedelta(hours=behind)).date() + timedelta(days=1)
        body = {
            "slug": "smoke",
            "name": "Smoke",
            "tier": "pro",
            "allowed_models": [MODEL],
            "timezone": f"Etc/GMT+{behind}",
            "billing_day": tomorrow.day,
            "budget_mode": "soft",
            "monthly_budget_usd": "0.01",
        }
        self.api("POST", "tenants/", body).expect(201)
        self.key = self.api("POST", "tenants/smoke/keys/", {"name": "smoke"}).expect(201).json()["key"]
        hook = {"tenant": "smoke", "url": f"http://{self.receiver.host}/api", "events": []}
        self.secret = self.api("POST", "webhooks/", hook).expect(201).json()["secret"]

    def budget_crossing(self) -> None:
        spent = Decimal(0)
        while spent < Decimal("0.01"):
            spent += Decimal(self.call(text=PRICED).headers["x-tenantry-cost-usd"])
        self.events("budget.threshold_reached", self.secret, wanted=2)  # 80 and 90 %
        self.events("budget.exceeded", self.secret)

    def closed_month(self) -> None:
        """The tenant moves to the zone furthest east, where that month is over: beat has it closed."""
        born = (datetime.now(UTC) - timedelta(days=3)).isoformat()
        tenant = "__import__('tenants.models').models.Tenant.objects.filter(slug='smoke')"
        self.installation.manage("shell", "-c", f"{tenant}.update(created_at='{born}')")
        self.api("PATCH", "tenants/smoke/", {"timezone": EAST}).expect(200)
        listed = self.eventually(
            lambda: self.api("GET", "statements/?tenant=smoke").expect(200).json()["results"],
            "the statement",
            seconds=180,
        )
        alerts = [alert for alert in listed[0]["alerts"] if alert["kind"] == "threshold"]
        percents = sorted(alert["threshold"] for alert in alerts)
        if percents != [80, 90, 100]:
            raise DoorFailed(f"the statement has the alerts {percents}")
        self.statement = listed[0]["id"]
        self.events("statement.closed", self.secret)

    def statement_pdf(self) -> None:
        console = self.browser()
        console.log_in("/admin/login/?next=/admin/", self.account["username"], self.account["password"])
        page = console.get(f"/admin/billing/statement/{self.statement}/change/").expect(200)
        path = found(r'href="([^"]+/pdf[^"]*)"', page.text, what="the PDF's button")
        answer = console.get(quote(path, safe="/?=&")).expect(200)
        if not answer.body.startswith(b"%PDF-"):
            raise DoorFailed(f"no PDF: {answer.body[:200]!r}")

    def metrics(self, token: str) -> None:
        """Nothing fails, nothing is overdue; and nobody without the token is told."""
        self.visitor.get("/metrics").expect(403)
        text = self.visitor.get("/metrics", authorization=f"Bearer {token}").expect(200).text
        for line in ('tenantry_up{store="redis"} 1.0', "tenantry_periods_overdue 0.0"):
            found(f"({line.replace('{', '[{]')})", text, what=line)
        failing = [line for line in text.splitlines() if line.startswith("tenantry_failing_tasks{")]
        if failing:
            raise DoorFailed(f"tasks fail: {failing}")

    def api(self, method: str, path: str, body: Any = None) -> Answer:
        sent = None if body is None else json.dumps(body).encode()
        return self.visitor.ask(method, f"/api/{path}", body=sent, headers={"authorization": self.token})
