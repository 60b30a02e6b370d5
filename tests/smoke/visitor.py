"""A client of the gateway, its console and its portal: cookies, forms, and nothing that follows by itself."""

import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode, urlsplit


class DoorFailed(Exception):
    """What a door should have done, and what it did."""


def one_line(text: str) -> str:
    """The beginning of what a page says, without its markup."""
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())[:300]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.body)

    def expect(self, *statuses: int) -> "Answer":
        if self.status not in statuses:
            wanted = " or ".join(map(str, statuses))
            raise DoorFailed(f"HTTP {self.status} instead of {wanted}: {one_line(self.text)}")
        return self


@dataclass
class Visitor:
    """Speaks to `port` of this machine. `host` is the public name, if one is served behind TLS."""

    port: int
    host: str = ""
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.ask("POST", path, body=json.dumps(body).encode(), headers=headers)

    def patch(self, path: str, body: Any, **headers: str) -> Answer:
        return self.ask("PATCH", path, body=json.dumps(body).encode(), headers=headers)

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        kind: str = "application/json",
        headers: Mapping[str, str],
    ) -> Answer:
        """`headers` are written with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            sent["content-type"] = kind
        if self.host:
            sent |= {"host": self.host, "x-forwarded-proto": "https", "referer": f"https://{self.host}{path}"}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            for cookie in response.msg.get_all("set-cookie") or []:
                name, _, value = cookie.partition(";")[0].partition("=")
                self.cookies[name.strip()] = value
            return Answer(response.status, response.msg, response.read())
        finally:
            connection.close()

    def log_in(self, path: str, username: str, password: str) -> None:
        answer = self.submit(path, username=username, password=password).expect(302)
        if not any(name.startswith("sessionid") for name in self.cookies):
            raise DoorFailed(f"{path} gave no session: {answer.headers}")

    def submit(self, path: str, **values: str | list[str]) -> Answer:
        """Fill in the form of a page and send it, with what it has checked already and its CSRF token."""
        page = Form(self.get(path).expect(200).text)
        fields = [(name, value) for name, value in page.checked if name not in values]
        for name, value in values.items():
            fields += [(name, each) for each in (value if isinstance(value, list) else [value])]
        fields.append(("csrfmiddlewaretoken", page.token))
        return self.ask(
            "POST",
            path,
            body=urlencode(fields).encode(),
            kind="application/x-www-form-urlencoded",
            headers={},
        )

    def press(self, page: str, action: str) -> Answer:
        """Send the form of `page` whose button posts to `action`."""
        token = Form(self.get(page).expect(200).text).token
        body = urlencode({"csrfmiddlewaretoken": token}).encode()
        return self.ask(
            "POST", urlsplit(action).path, body=body, kind="application/x-www-form-urlencoded", headers={}
        )


class Form(HTMLParser):
    """The CSRF token of a page and what is checked on it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.token = ""
        self.checked: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        name, value = values.get("name") or "", values.get("value") or ""
        if tag == "input" and name == "csrfmiddlewaretoken":
            self.token = value
        elif tag == "input" and values.get("type") == "checkbox" and "checked" in values:
            self.checked.append((name, value))


def found(pattern: str, text: str, *, what: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise DoorFailed(f"{what} was not found in: {one_line(text)}")
    return match[1]
