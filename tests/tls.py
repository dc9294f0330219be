"""TLS before a server that speaks none: for who connects to it, that is the same."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HELLO = b"\x16"  # what TLS begins with


def certificate_in(folder: Path) -> Path:
    """One of its own for `localhost`, with its key behind it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    unlocked = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unlocked)
    file = folder / "certificate.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


class _Proxy(socketserver.ThreadingTCPServer):
    """Speaks TLS with whoever connects by it, and hands on what they say; what others say it hands on as it is."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, certificate: Path, port: int) -> None:
        self.port = port
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate)
        super().__init__(("127.0.0.1", 0), _Passing)

    def handle_error(self, *_: object) -> None:
        """That a client does not trust the certificate is what some tests are about."""


class _Passing(socketserver.BaseRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        first = self.request.recv(1, socket.MSG_PEEK)
        with (
            self.server.tls.wrap_socket(self.request, server_side=True) if first == HELLO else self.request as outside,
            socket.create_connection(("127.0.0.1", self.server.port)) as inside,
        ):
            threading.Thread(target=_pump, args=(inside, outside), daemon=True).start()
            _pump(outside, inside)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while said := source.recv(65536):
            sink.sendall(said)
        sink.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # either side is gone, and the other notices


@contextmanager
def by_tls(certificate: Path, port: int) -> Iterator[int]:
    """The port at which the server at `port` of this machine is there by TLS."""
    with _Proxy(certificate, port) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy.server_address[1]
        proxy.shutdown()


__all__ = ["by_tls", "certificate_in"]
