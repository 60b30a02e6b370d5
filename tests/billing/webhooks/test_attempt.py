"""One attempt over TLS: to the checked address, with the name's certificate."""

import ipaddress
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from billing.address_guard import Destination
from billing.webhooks.attempt import Connections, attempt
from tests.billing.webhooks.receiver import Receiver
from tests.factories import WebhookDeliveryFactory, WebhookEndpointFactory


def certificate(name, folder):
    """A self-signed certificate for `name`; the file with it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("192.0.2.7"))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture
def secure(tmp_path, settings, monkeypatch):
    """A TLS receiver on this machine that has a certificate for hooks.test; the names lead to it."""
    file = certificate("hooks.test", tmp_path)
    server = Receiver()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    settings.WEBHOOK_ALLOW_HOSTS = [f"{name}:{server.server_port}" for name in ("hooks.test", "other.test")]
    here = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.server_port))]
    looked_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *args, **named: here if str(host).endswith(".test") else looked_up(host, *args, **named),
    )
    trusting = ssl.create_default_context(cafile=file)
    monkeypatch.setattr("billing.webhooks.attempt.httpx.create_ssl_context", lambda **_: trusting)
    yield server
    server.shutdown()
    server.server_close()


def to(name, server):
    endpoint = WebhookEndpointFactory.build(url=f"https://{name}:{server.server_port}/hooks")
    return WebhookDeliveryFactory.build(endpoint=endpoint)


async def test_the_name_is_in_host_and_certificate_though_the_address_is_connected_to(secure):
    delivery = to("hooks.test", secure)
    async with Connections() as connections:
        ending = await attempt(delivery, connections)

    assert ending.error == ""
    [(headers, _)] = secure.came
    assert headers["host"] == f"hooks.test:{secure.server_port}"


async def test_a_connection_verified_for_one_name_is_not_used_for_another_at_the_same_address(secure):
    first, second = to("hooks.test", secure), to("other.test", secure)
    async with Connections() as connections:
        assert (await attempt(first, connections)).delivered
        ending = await attempt(second, connections)

    assert "certificate" in ending.error.lower()
    assert len(secure.came) == 1


async def test_a_certificate_nobody_vouches_for_is_refused(secure, monkeypatch):
    monkeypatch.undo()
    place = Destination(
        secure=True, host="hooks.test", address="127.0.0.1", port=secure.server_port, target="/"
    )
    async with Connections() as connections:
        request = httpx.Request("POST", f"https://127.0.0.1:{secure.server_port}/")
        request.extensions["sni_hostname"] = "hooks.test"
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await connections.to(place).handle_async_request(request)
