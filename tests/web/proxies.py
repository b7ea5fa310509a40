"""The shipped configurations of deploy/, each as its user would change it for this machine."""

import os
import pwd
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..layout import ROOT

PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
NGINX = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    {temporary}
    include {folder}/example.conf;
}}
"""
CADDY = """{{
	admin off
	skip_install_trust
	auto_https disable_redirects
	storage file_system {folder}/caddy
}}
"""


@dataclass(frozen=True)
class Place:
    """Where a proxy is tried: it serves https://localhost:`port` in front of app at `app`."""

    folder: Path
    port: int
    app: str
    """The path of a socket file, or a port."""
    path: str = ""
    """Below which the application is."""


def nginx(place: Place) -> list[str]:
    text = _changed(
        "nginx.conf",
        {
            "    listen 80;\n    listen [::]:80;\n": f"    listen unix:{place.folder}/80.sock;\n",
            "listen 443 ssl": f"listen 127.0.0.1:{place.port} ssl",
            "    listen [::]:443 ssl http2;\n": "",
            "/run/example/app.sock": place.app,
            "/etc/ssl/example.com": f"{place.folder}/site",
            ".key;": ".pem;",
            "location / {": f"location {place.path}/ {{",
            "proxy_pass http://example_app;": f"proxy_pass http://example_app{place.path and '/'};",
        },
    )
    (place.folder / "example.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {place.folder}/{kind};" for kind in kinds)
    user = f"user {proxy_user()};" if os.geteuid() == 0 else ""
    main = NGINX.format(user=user, folder=place.folder, temporary=temporary)
    (place.folder / "nginx.conf").write_text(main)
    return ["nginx", "-c", f"{place.folder}/nginx.conf", "-e", "stderr"]


def caddy(place: Place) -> list[str]:
    text = _changed(
        "Caddyfile",
        {
            "example.com {": f"https://localhost:{place.port} {{\n\ttls {place.folder}/site.pem"
            f" {place.folder}/site.pem",
            "unix//run/example/app.sock": f"unix/{place.app}",
        },
    )
    path = place.folder / "Caddyfile"
    path.write_text(CADDY.format(folder=place.folder) + text)
    return ["caddy", "run", "--config", str(path)]


def haproxy(place: Place) -> list[str]:
    text = _changed(
        "haproxy.cfg",
        {
            "/run/haproxy/admin.sock": f"{place.folder}/admin.sock",
            "bind :8080": f"bind 127.0.0.1:{place.port} ssl crt {place.folder}/site.pem",
            "10.77.0.11:5000": f"127.0.0.1:{place.app}",
            "    server host2 10.77.0.12:5000\n    server host3 10.77.0.13:5000\n": "",
        },
    )
    path = place.folder / "haproxy.cfg"
    path.write_text(text)
    return ["haproxy", "-f", str(path)]


PROXIES: dict[str, Callable[[Place], list[str]]] = {
    "nginx": nginx,
    "caddy": caddy,
    "haproxy": haproxy,
}


def proxy_user() -> str:
    """Who may open app's socket file: another one than root, where that can be."""
    names = {user.pw_name for user in pwd.getpwall()}
    return next(name for name in ("www-data", "nginx", "nobody") if name in names)


def certify(folder: Path) -> None:
    """site.pem: a key and a certificate for localhost that nobody has signed."""
    pem = folder / "site.pem"
    make = f"openssl req -x509 -nodes -newkey rsa:2048 -days 1 -keyout {pem} -out {folder}/c.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*make.split(), *names], check=True, capture_output=True)
    with open(pem, "a") as both:
        both.write((folder / "c.pem").read_text())


def _changed(name: str, changes: dict[str, str]) -> str:
    text = (ROOT / "deploy" / name).read_text()
    for was, now in changes.items():
        assert was in text, f"deploy/{name} has no {was!r} any more"
        text = text.replace(was, now)
    return text
