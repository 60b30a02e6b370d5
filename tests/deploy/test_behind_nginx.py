"""The gateway behind the shipped nginx, as a deployment has it: several callers, and TLS in front of both."""

import contextlib
import http.cookies
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.deploy.nginx import HOME, NGINX, PROXY, Nginx, running_nginx
from tests.deploy.test_nginx import BALANCER, called_from, front
from tests.sandbox import free_port, wait_for_port

pytestmark = [
    pytest.mark.stack,
    pytest.mark.slow,
    pytest.mark.skipif(not NGINX, reason="nginx is not installed"),
]
# An installation whose stores are not there.
ALONE = {
    "PATH": os.environ["PATH"],
    "SECRET_KEY": "k9-Xw7_" * 8,
    "DATA_DIR": "/nonexistent",
    "DATABASE_URL": "postgresql://127.0.0.1:9/none",
    "REDIS_URL": "redis://127.0.0.1:9/0",
}
ATTACKER, TENANT = "127.0.0.66", "127.0.0.77"


@contextlib.contextmanager
def web_process(installation: dict[str, str], **environment: str) -> Iterator[str]:
    """One (more) of the installation, that believes nginx."""
    port = free_port()
    given = {"HOST": "127.0.0.1", "PORT": str(port), "FORWARDED_ALLOW_IPS": f"{PROXY}/32", "WEB_WORKERS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "gateway_project.web"],
        cwd=HOME,
        env={**installation, **given, **environment},
    )
    try:
        wait_for_port(port, 60)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def behind_nginx(stack):
    with web_process(stack.environment) as web, running_nginx(web) as nginx:
        yield nginx


def test_a_restart_of_one_process_behind_nginx_loses_no_call():
    """The other one serves meanwhile. They are POSTs, which nginx sends again only where none of it was sent, and ones
    that are answered (405) without any store.
    """
    statuses: list[int | str] = []
    over = threading.Event()

    def call_on(url: str) -> None:
        with httpx.Client(timeout=60) as caller:
            while not over.wait(0.02):
                try:
                    statuses.append(caller.post(f"{url}/healthz", content=b"x" * 1000).status_code)
                except httpx.HTTPError as error:
                    statuses.append(repr(error))

    with contextlib.ExitStack() as stays, contextlib.ExitStack() as leaves:
        first = stays.enter_context(web_process(ALONE))
        second = leaves.enter_context(web_process(ALONE))
        nginx = stays.enter_context(running_nginx(first, second))
        callers = [threading.Thread(target=call_on, args=(nginx.url,)) for _ in range(4)]
        for caller in callers:
            caller.start()
        time.sleep(3)
        leaves.close()
        time.sleep(3)
        over.set()
        for caller in callers:
            caller.join(60)

    assert len(statuses) > 20
    assert set(statuses) == {405}


def login(caller: httpx.Client, nginx: Nginx, password: str) -> httpx.Response:
    page = caller.get(f"{nginx.url}/admin/login/")
    token = re.findall(r'csrfmiddlewaretoken" value="([^"]+)"', page.text)[0]
    form = {"csrfmiddlewaretoken": token, "username": "admin", "password": password, "next": "/admin/"}
    return caller.post(f"{nginx.url}/admin/login/", data=form, headers={"referer": f"{nginx.url}/"})


def test_wrong_keys_from_one_address_never_hold_up_another(behind_nginx, stack):
    key = next(iter(stack.keys.values()))
    models = f"{behind_nginx.url}/v1/models"
    with called_from(ATTACKER) as attacker, called_from(TENANT) as tenant:
        # It claims the tenant's address as well as it can.
        claim = {"x-forwarded-for": TENANT, "x-real-ip": TENANT, "forwarded": f"for={TENANT}"}
        tried = [
            attacker.get(models, headers={"x-api-key": f"tn_wrong{number}", **claim}) for number in range(120)
        ]
        served = tenant.get(models, headers={"x-api-key": key})

    assert {answer.status_code for answer in tried} == {401, 429}
    assert served.status_code == 200


def test_wrong_passwords_from_one_address_never_lock_out_another(behind_nginx, stack):
    with called_from(ATTACKER) as attacker, called_from(TENANT) as admin:
        attacker.headers["x-forwarded-for"] = TENANT
        tried = [login(attacker, behind_nginx, f"wrong{number}").status_code for number in range(11)]
        let_in = login(admin, behind_nginx, stack.passwords["admin"])

    assert tried[0] == 200  # the form again, with its message
    assert tried[-1] == 429
    assert (let_in.status_code, let_in.headers["location"]) == (302, "/admin/")


def test_tls_in_front_of_nginx_is_no_circle_of_redirects(stack):
    host = {"host": "gateway.example.com"}
    public = {
        "ALLOWED_HOSTS": "gateway.example.com",
        "CSRF_TRUSTED_ORIGINS": "https://gateway.example.com",
        "HTTPS": "1",
    }
    with (
        web_process(stack.environment, **public) as web,
        running_nginx(web, files=front()) as nginx,
        called_from(BALANCER) as balancer,
        called_from(ATTACKER) as stranger,
    ):
        told = host | {"x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.9"}
        page = balancer.get(f"{nginx.url}/admin/login/", headers=told)
        claimed = stranger.get(f"{nginx.url}/admin/login/", headers=told)
        probe = stranger.get(f"{nginx.url}/readyz", headers={"host": "10.1.2.3"})

    assert page.status_code == 200
    cookie = http.cookies.SimpleCookie(page.headers["set-cookie"])
    assert cookie["csrftoken"]["secure"]
    assert (claimed.status_code, claimed.headers["location"]) == (
        301,
        "https://gateway.example.com/admin/login/",
    )
    assert probe.status_code == 200
