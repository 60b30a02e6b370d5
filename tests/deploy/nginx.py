"""nginx itself on deploy/nginx.conf, with addresses of this machine in place of a deployment's."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.folders import throwaway_folder
from tests.sandbox import free_port, wait_for_port

HOME = Path(__file__).resolve().parents[2]
DEPLOY = HOME / "deploy"
NGINX = os.environ.get("NGINX") or shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or ""
# Where nginx stands, as the web processes see it: another machine than the callers'.
PROXY = "127.0.0.5"


class Nginx(msgspec.Struct):
    """Where it listens; `tls` if it has a certificate."""

    url: str
    tls: str = ""


def version() -> tuple[int, ...]:
    """Of the nginx at hand; of none, nothing."""
    if not NGINX:
        return ()
    told = subprocess.run([NGINX, "-v"], capture_output=True, text=True, check=True).stderr
    [number] = re.findall(r"nginx/([\d.]+)", told)
    return tuple(map(int, number.split(".")))


def configuration(folder: Path, *, servers: list[str], port: int, tls_port: int, resolver: str = "") -> str:
    """The shipped file with its paths below `folder`, listening on loopback, in front of `servers`."""
    text = (DEPLOY / "nginx.conf").read_text()
    if resolver:
        text = re.sub(r"# resolver \S+ valid=\S+;", f"resolver {resolver} valid=1s ipv6=off;", text)
    [line] = re.findall(r"^ +server web:8000 .*;$", text, re.MULTILINE)
    text = text.replace(line, "\n".join(line.replace("web:8000", each) for each in servers))
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{port}; proxy_bind {PROXY};")
    text = re.sub(r"(?<![\w.])/tmp/", f"{folder}/", text)
    text = text.replace("/etc/tenantry/", f"{folder}/")
    for name in ("tls.conf", "front.conf"):
        if (file := folder / name).exists():
            moved = file.read_text().replace("/etc/tenantry", str(folder))
            file.write_text(moved.replace("listen 8443", f"listen 127.0.0.1:{tls_port}"))
    return text


@contextlib.contextmanager
def running_nginx(
    *servers: str, files: dict[str, str | bytes] | None = None, resolver: str = ""
) -> Iterator[Nginx]:
    """It, in front of `servers`; `files` stand in /etc/tenantry."""
    folder = throwaway_folder("tenantry-nginx-")
    for name, content in (files or {}).items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    port, tls_port = free_port(), free_port()
    file = folder / "nginx.conf"
    file.write_text(
        configuration(folder, servers=list(servers), port=port, tls_port=tls_port, resolver=resolver)
    )
    process = subprocess.Popen([NGINX, "-c", str(file), "-g", "daemon off;"], stderr=subprocess.PIPE)
    try:
        wait_for_port(port)
        yield Nginx(url=f"http://127.0.0.1:{port}", tls=f"https://127.0.0.1:{tls_port}")
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
