"""The command that makes a certificate for the server."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from registry.cli.output import grouped
from registry.cli.settings import AirlockCommand, Settings, pass_settings

__all__ = ["tls_init_command"]


@click.command("tls-init", cls=AirlockCommand)
@click.option("--name", "names", multiple=True, required=True, metavar="HOST", help="A host name or address of the server; repeatable.")
@click.option("--days", type=click.IntRange(1, 3650), default=825, show_default=True, help="How long the server's certificate is good.")
@pass_settings
def tls_init_command(settings: Settings, names: tuple[str, ...], *, days: int) -> None:
    r"""Make a certificate for the server, and a site CA that signs it, for sites without a CA of their own.

    Run it again to renew the certificate: the CA stays, and nodes need nothing new.

    \b
    Example:
      airlock site tls-init --name registry.site.internal --name 10.0.0.5
    """
    from registry.workflow.tls import tls_init  # noqa: PLC0415 - X.509 is of no use to the other commands of a site

    settings.unchanged = "no certificate was made"
    made = tls_init(settings.home, names, days, settings.passphrase, now=datetime.now(UTC))
    until = made.until.strftime("%Y-%m-%d")
    text = f"""\
certificate  {made.certificate}, for {", ".join(made.names)}, until {until}
key          {made.key}
site CA      {made.authority}{"" if made.new_authority else " (unchanged)"}
fingerprint  {grouped(made.fingerprint)}

Each node needs ca.pem, once. For Ollama alone: copy it to /etc/ollama/airlock-ca.pem, and add
to the service (systemctl edit ollama)
  [Service]
  Environment=SSL_CERT_FILE=/etc/ollama/airlock-ca.pem
Compare the fingerprint there: openssl x509 -in /etc/ollama/airlock-ca.pem -noout -fingerprint -sha256"""
    document = {
        "certificate": str(made.certificate),
        "key": str(made.key),
        "ca": str(made.authority),
        "names": list(made.names),
        "until": made.until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "fingerprint": made.fingerprint,
        "new_ca": made.new_authority,
    }
    settings.output.result(document, text)
    settings.output.next_step(f"airlock serve --listen 0.0.0.0:5000 --name {made.names[0]} --tls-cert {made.certificate} --tls-key {made.key}")
