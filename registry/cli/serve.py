"""The command that serves."""

from __future__ import annotations

import ipaddress
import logging
import sys
from pathlib import Path

import click

from registry.cli.settings import AirlockCommand, Settings, pass_settings
from registry.content.view import parse_view
from registry.errors import AirlockError, Usage
from registry.store.home import SITE, Home

__all__ = ["serve_command"]


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535 or not host:
        raise Usage(
            f"{text!r}: not an address to listen on", why="expected HOST:PORT", hint="for example --listen 127.0.0.1:5000 or --listen [::1]:5000"
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
@pass_settings
def serve_command(
    settings: Settings,
    *,
    listen: str,
    anonymous_pull: bool,
    state: Path | None,
    names: tuple[str, ...],
    clock_skew: int,
    redirect_host: str,
    drain_timeout: float,
) -> None:
    r"""Serve promoted releases to stock Ollama nodes that are enrolled, and approved ones to those of the group test.

    What people do at the site, promotions and revocations among it, takes effect within a second.  Needs no passphrase, and of the home only
    home.json, blobs/ and published/.

    \b
    Examples:
      airlock serve --name registry.site.internal
      airlock serve --anonymous-pull
      ollama pull --insecure 127.0.0.1:5000/library/gemma3:270m
    """
    from registry.server.run import ServerConfig, serve  # noqa: PLC0415 - a quarter of a second that no other command should wait for

    home = settings.home
    home.require(SITE)
    host, port = _address(listen)
    if not _is_loopback(host):
        settings.output.warn("plain HTTP beyond this machine: whoever sits on the network can read what is pulled, though not change it unnoticed")
    if not anonymous_pull and not _knows_anybody(home):
        settings.output.warn("no node is enrolled yet, so every pull will be refused, and counts as a knock: airlock node pending")
    logging.basicConfig(format="airlock: %(message)s", level=logging.WARNING if settings.quiet else logging.INFO)

    def ready(url: str) -> None:
        settings.output.result({"url": url, "anonymous_pull": anonymous_pull}, f"serving on {url}")
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
        ),
        ready=ready,
    )
