"""The command that serves."""

from __future__ import annotations

import ipaddress
import logging
import sys
from pathlib import Path

import click

from registry.cli.settings import AirlockCommand, Settings, pass_settings
from registry.errors import Usage
from registry.store.home import SITE

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


@click.command("serve", cls=AirlockCommand)
@click.option("--listen", default="127.0.0.1:5000", show_default=True, metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
@click.option("--anonymous-pull", is_flag=True, help="Let every machine that can reach the port pull what is served.")
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The server's own state.  [default: HOME/server]")
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
def serve_command(settings: Settings, *, listen: str, anonymous_pull: bool, state: Path | None, redirect_host: str, drain_timeout: float) -> None:
    r"""Serve approved and promoted releases to stock Ollama nodes.

    Promotions take effect within a second.  Needs no passphrase, and nothing of the home but blobs/ and published/.

    \b
    Examples:
      airlock serve --anonymous-pull
      ollama pull --insecure 127.0.0.1:5000/library/gemma3:270m
    """
    from registry.server.run import ServerConfig, serve  # noqa: PLC0415 - a quarter of a second that no other command should wait for

    home = settings.home
    home.require(SITE)
    host, port = _address(listen)
    if not _is_loopback(host):
        settings.output.warn("plain HTTP beyond this machine: whoever sits on the network can read what is pulled, though not change it unnoticed")
    if not anonymous_pull:
        settings.output.warn("no node is enrolled yet, so every pull will be refused; to let everybody pull: airlock serve --anonymous-pull")
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
        ),
        ready=ready,
    )
