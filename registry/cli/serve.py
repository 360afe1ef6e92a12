"""The command that serves."""

from __future__ import annotations

import ipaddress
import logging
import sys
from pathlib import Path

import click

from registry.cli.settings import AirlockCommand, Settings, pass_settings
from registry.cli.values import Size
from registry.content.view import parse_view
from registry.errors import AirlockError, Usage
from registry.store.home import SITE, Home

__all__ = ["serve_command"]

_file = click.Path(path_type=Path)


def _address(text: str, option: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535 or not host:
        raise Usage(
            f"{text!r}: not an address to listen on", why="expected HOST:PORT", hint=f"for example {option} 127.0.0.1:5000 or {option} [::1]:5000"
        )
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _knows_anybody(home: Home) -> bool:
    try:
        view = parse_view(home.view.read_bytes())
    except (OSError, AirlockError):
        return False  # the server says what is wrong with it
    return bool(view.nodes or view.tokens)


@click.command("serve", cls=AirlockCommand)
@click.option("--listen", default="127.0.0.1:5000", show_default=True, metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
@click.option("--anonymous-pull", is_flag=True, help="Let every machine that can reach the port pull what is served.")
@click.option("--tls-cert", type=_file, metavar="FILE", help="The server's certificate with its chain, PEM; read again on SIGHUP.")
@click.option("--tls-key", type=_file, metavar="FILE", help="Its key, PEM, unencrypted.")
@click.option("--client-ca", type=_file, metavar="FILE", help="Whose client certificates identify nodes (node enroll --certificate).")
@click.option("--plain-http", is_flag=True, help="Serve beyond this machine without TLS.")
@click.option(
    "--blob-listen",
    default="",
    metavar="HOST:PORT",
    help="A second listener that hands out blobs by link over plain HTTP, while manifests and tokens go over TLS.",
)
@click.option(
    "--metrics-listen",
    default="",
    metavar="HOST:PORT",
    help="A listener for Prometheus, plain HTTP: /metrics says what is counted; it names no node and no model.",
)
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The server's own state.  [default: HOME/server]")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST",
    help="A host name by which nodes may ask; repeatable.  [default: the address they reach, localhost, this machine's own name]",
)
@click.option(
    "--clock-skew",
    type=click.IntRange(1, 86400),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="By how much a node's clock may differ.",
)
@click.option("--redirect-host", default="", metavar="NAME", help="A second name of this host, for Ollama 0.3.1 to 0.3.9.")
@click.option(
    "--drain-timeout",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long running pulls may go on at the end.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, metavar="N", help="How many processes serve.")
@click.option("--max-rate", type=Size(), metavar="SIZE", help="Bytes per second for all pulls together, such as 100MiB.  [default: no limit]")
@click.option("--max-connections", type=click.IntRange(min=8), default=2048, show_default=True, metavar="N", help="Connections of one process.")
@click.option(
    "--max-downloads", type=click.IntRange(min=1), default=64, show_default=True, metavar="N", help="Downloads at once for one node in one process."
)
@pass_settings
def serve_command(
    settings: Settings,
    *,
    listen: str,
    anonymous_pull: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
    plain_http: bool,
    blob_listen: str,
    metrics_listen: str,
    state: Path | None,
    names: tuple[str, ...],
    clock_skew: int,
    redirect_host: str,
    drain_timeout: float,
    workers: int,
    max_rate: int | None,
    max_connections: int,
    max_downloads: int,
) -> None:
    r"""Serve promoted releases to stock Ollama nodes that are enrolled, and approved ones to those of the group test.

    What people do at the site, promotions and revocations among it, takes effect within a second.  Needs no passphrase, and of the home only
    home.json, blobs/ and published/.

    \b
    Examples:
      airlock serve --listen 0.0.0.0:5000 --name registry.site.internal --tls-cert tls/server.pem --tls-key tls/server.key
      airlock serve --anonymous-pull
      ollama pull --insecure 127.0.0.1:5000/library/gemma3:270m
    """
    from registry.server.run import ServerConfig, serve  # noqa: PLC0415 - a quarter of a second that no other command should wait for

    home = settings.home
    home.require(SITE)
    host, port = _address(listen, "--listen")
    if (tls_cert is None) != (tls_key is None):
        raise Usage("TLS needs a certificate and its key", hint="name both: --tls-cert FILE --tls-key FILE")
    if tls_cert is None and not _is_loopback(host):
        if not plain_http:
            raise Usage(
                f"{listen}: plain HTTP beyond this machine is not served unasked",
                why="whoever sits on the network could read what is pulled",
                hint="airlock site tls-init makes a certificate for --tls-cert and --tls-key; or say --plain-http",
            )
        settings.output.warn("plain HTTP beyond this machine: whoever sits on the network can read what is pulled, though not change it unnoticed")
    data_plane = _address(blob_listen, "--blob-listen") if blob_listen else None
    if data_plane and tls_cert is None:
        raise Usage("--blob-listen is for a server that speaks TLS", why="without it every blob goes over plain HTTP already")
    if data_plane:
        settings.output.warn("blobs go over plain HTTP: whoever sits on the network can read them, though not change them unnoticed")
    watched = _address(metrics_listen, "--metrics-listen") if metrics_listen else None
    if watched and not _is_loopback(watched[0]):
        settings.output.warn("metrics go over plain HTTP to whoever reaches them: they name nobody, but say how busy this site is")
    if not anonymous_pull and not _knows_anybody(home):
        settings.output.warn("no node is enrolled yet, so every pull will be refused, and counts as a knock: airlock node pending")
    logging.basicConfig(format="airlock: %(message)s", level=logging.WARNING if settings.quiet else logging.INFO)

    def ready(url: str, metrics: str = "") -> None:
        told = {"url": url, "anonymous_pull": anonymous_pull} | ({"metrics": metrics} if metrics else {})
        settings.output.result(told, f"serving on {url}" + (f", metrics at {metrics}" if metrics else ""))
        sys.stdout.flush()

    serve(
        ServerConfig(
            blobs=home.blobs,
            view=home.view,
            state=state or home.root / "server",
            host=host,
            port=port,
            anonymous_pull=anonymous_pull,
            drain_seconds=drain_timeout,
            redirect_host=redirect_host,
            names=names,
            window=clock_skew,
            tls=(tls_cert, tls_key) if tls_cert and tls_key else None,
            client_ca=client_ca,
            blob_listen=data_plane,
            metrics_listen=watched,
            workers=workers,
            max_rate=max_rate or 0,
            max_connections=max_connections,
            max_downloads=max_downloads,
        ),
        ready=ready,
    )
