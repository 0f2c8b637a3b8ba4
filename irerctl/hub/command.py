"""`irerctl hub`: the HTTP gateway and the Control Hub page, as a process in the foreground.

It refuses to start where what it would do is not safe: nobody is served beyond this machine without TLS and a token.
"""

import logging
import signal
import ssl
import sys
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from irerctl.session import Failure, command, session

if TYPE_CHECKING:
    from irerctl.hub.server import Limits

DEFAULT = "127.0.0.1:8080"


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address_of(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise Failure("invalid-argument", f"{text!r} is no address to listen on.", f"Give HOST:PORT, as in --listen {DEFAULT}")
    return Address(host, int(port))


def tls_of(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """TLS 1.3 and nothing older."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise Failure("invalid-argument", "TLS needs a certificate and its key.", "Give both: --tls-cert FILE --tls-key FILE")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.set_alpn_protocols(["http/1.1"])
    try:
        made.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as problem:
        why = getattr(problem, "strerror", None) or str(problem)
        text = f"{cert} and {key} are no certificate and key that can be used ({why})."
        raise Failure("invalid-argument", text, "Give a certificate chain and its private key as PEM files") from None
    return made


def check_safe(address: Address, tls: ssl.SSLContext | None) -> None:
    from irerctl.hub.access import is_loopback

    if tls is None and not is_loopback(address.host):
        text = f"{address} is reached from other machines, and without TLS anybody on the way could read and change what is said."
        raise Failure("failed-precondition", text, f"Give --tls-cert FILE --tls-key FILE, or listen on {DEFAULT}", reason="no-tls")


def limits_of(pairs: tuple[str, ...]) -> "Limits":
    from core.wire.errors import problem as in_words
    from irerctl.hub.server import Limits

    given: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            given[name] = float(value) if name.endswith("_s") else int(value)
        except ValueError:
            raise Failure("invalid-argument", f"{pair!r} is no limit.", "Give NAME=NUMBER, as in --limit streams=64") from None
    try:
        return msgspec.convert(given, Limits, strict=True)
    except msgspec.ValidationError as problem:
        known = ", ".join(Limits.__struct_fields__)
        name, said = in_words(problem, Limits)
        raise Failure("invalid-argument", f"--limit: {f'{name} ' if name else ''}{said}.", f"There are: {known}") from None


@command(
    "hub",
    "Serve HTTP and the Control Hub page.",
    click.Option(["--listen"], metavar="HOST:PORT", default=DEFAULT, show_default=True, help="Where to listen."),
    click.Option(["--tls-cert"], metavar="FILE", help="Certificate chain (PEM); TLS 1.3 from then on."),
    click.Option(["--tls-key"], metavar="FILE", help="Its private key (PEM)."),
    click.Option(["--allow-host"], metavar="NAME", multiple=True, help="A name this hub may be called by; may be repeated."),
    click.Option(["--limit"], metavar="NAME=N", multiple=True, help="One of its limits, as docs/hub.md lists them."),
    epilog="On loopback a caller may do what this process may; from anywhere else TLS and a token are needed. See docs/hub.md.",
)
def hub(listen: str, tls_cert: str | None, tls_key: str | None, allow_host: tuple[str, ...], limit: tuple[str, ...]) -> None:
    now = session()
    address = address_of(listen)
    check_safe(address, tls := tls_of(tls_cert, tls_key))
    limits = limits_of(limit)
    try:
        import trio

        from irerctl.hub.run import main
    except ModuleNotFoundError as missing:
        text = f"irerctl hub needs {missing.name}, which is not installed."
        raise Failure("failed-precondition", text, "Try: pip install 'irer[hub]'") from None
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    failure = trio.run(main, now.path, address, tls, frozenset(allow_host), limits)
    if failure is not None:
        raise failure
