"""deploy/nginx.conf in nginx itself: whose call it is, what is tried again, and TLS here or in front."""

import time

import httpx
import pytest

from tests.deploy.backend import running_backend
from tests.deploy.certificates import certificate
from tests.deploy.dns import running_names
from tests.deploy.nginx import DEPLOY, NGINX, running_nginx, version
from tests.sandbox import free_port

pytestmark = pytest.mark.skipif(not NGINX, reason="nginx is not installed")
BALANCER = "127.0.0.40"


def called_from(address: str) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(local_address=address), timeout=20)


def front(example: str = "front.conf.example") -> dict[str, str | bytes]:
    text = (DEPLOY / "nginx" / example).read_text()
    assert "192.0.2.10" in text
    return {"front.conf": text.replace("192.0.2.10", BALANCER)}


@pytest.mark.parametrize(
    "claim",
    [
        {"x-forwarded-for": "6.6.6.6", "x-forwarded-proto": "https"},
        {"x-forwarded-for": "127.0.0.40, 6.6.6.6", "forwarded": "for=6.6.6.6;proto=https"},
        {"X-Forwarded-For": "", "x-real-ip": "6.6.6.6"},
    ],
)
def test_a_caller_is_who_connects_whatever_it_claims(claim):
    with (
        running_backend() as web,
        running_nginx(web.address, files=front()) as nginx,
        called_from("127.0.0.66") as caller,
    ):
        caller.get(nginx.url, headers=claim)

    [(_, _, headers)] = web.asked
    assert headers["x-forwarded-for"] == "127.0.0.66"
    assert headers["x-forwarded-proto"] == "http"
    assert "forwarded" not in headers


def test_a_balancer_that_is_named_names_the_caller_and_its_scheme():
    # It adds the address it sees to what the caller claims.
    told = {"x-forwarded-for": "6.6.6.6, 203.0.113.9", "x-forwarded-proto": "https"}
    with (
        running_backend() as web,
        running_nginx(web.address, files=front()) as nginx,
        called_from(BALANCER) as balancer,
    ):
        balancer.get(nginx.url, headers=told)
        balancer.get(nginx.url, headers=told | {"x-forwarded-proto": "gopher"})

    assert [headers["x-forwarded-for"] for _, _, headers in web.asked] == ["203.0.113.9"] * 2
    assert [headers["x-forwarded-proto"] for _, _, headers in web.asked] == ["https", "http"]


def test_the_host_reaches_the_gateway_with_its_port():
    with running_backend() as web, running_nginx(web.address) as nginx:
        httpx.get(nginx.url, headers={"host": "gateway.example.com:8443"})

    assert web.asked[0][2]["host"] == "gateway.example.com:8443"


def test_tls_ends_in_nginx_and_nothing_is_served_in_the_clear():
    public, private = certificate()
    files: dict[str, str | bytes] = {
        "tls.conf": (DEPLOY / "nginx" / "tls.conf.example").read_text(),
        "fullchain.pem": public,
        "privkey.pem": private,
    }
    with running_backend() as web, running_nginx(web.address, files=files) as nginx:
        sent = httpx.post(f"{nginx.url}/v1/messages?x=1", json={})
        served = httpx.get(nginx.tls, verify=False)

    assert (sent.status_code, sent.headers["location"]) == (308, "https://127.0.0.1/v1/messages?x=1")
    assert served.status_code == 200
    assert [headers["x-forwarded-proto"] for _, _, headers in web.asked] == ["https"]


def test_a_call_that_could_not_be_sent_goes_to_another_process():
    nobody = f"127.0.0.1:{free_port()}"
    with running_backend() as web, running_nginx(nobody, web.address) as nginx, httpx.Client() as caller:
        answers = [caller.post(f"{nginx.url}/v1/messages", content=b"x" * 5000) for _ in range(6)]

    assert {answer.status_code for answer in answers} == {200}
    assert len(web.asked) == 6


def test_a_call_that_was_sent_is_never_sent_again():
    """It may have been paid for."""
    with (
        running_backend(hangs_up=True) as dying,
        running_backend(hangs_up=True) as other,
        running_nginx(dying.address, other.address) as nginx,
    ):
        answer = httpx.post(f"{nginx.url}/v1/messages", json={})

    assert answer.status_code == 502
    assert len(dying.asked) + len(other.asked) == 1


def test_bodies_beyond_what_a_page_sends_end_at_nginx():
    with running_backend() as web, running_nginx(web.address) as nginx, httpx.Client() as caller:
        model_call = caller.post(f"{nginx.url}/v1/messages", content=b"x" * 20_000_000)
        page = caller.post(f"{nginx.url}/portal/login/", content=b"x" * 20_000_000)

    assert (model_call.status_code, page.status_code) == (200, 413)


def test_metrics_are_not_served_by_whichever_process_nginx_picks():
    with running_backend() as web, running_nginx(web.address) as nginx:
        assert httpx.get(f"{nginx.url}/metrics").status_code == 404
        assert httpx.get(f"{nginx.url}/healthz").status_code == 200


@pytest.mark.skipif(version() < (1, 27, 3), reason="this nginx does not resolve names again")
def test_a_recreated_container_is_found_at_its_new_address():
    port = free_port()
    with (
        running_backend("127.0.0.31", port) as old,
        running_backend("127.0.0.32", port) as new,
        running_names("127.0.0.31") as names,
        running_nginx(f"web:{port} resolve", resolver=names.server) as nginx,
    ):
        deadline = time.monotonic() + 20
        while httpx.get(nginx.url).text != "127.0.0.31" and time.monotonic() < deadline:
            time.sleep(0.1)
        names.address = "127.0.0.32"
        while httpx.get(nginx.url).text != "127.0.0.32" and time.monotonic() < deadline:
            time.sleep(0.1)

    assert old.asked
    assert new.asked
