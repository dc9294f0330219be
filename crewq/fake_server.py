"""The last resort of the embedded mode: fakeredis behind a socket. It keeps nothing on disk, and is slow.

    python -P fake_server.py        in the server's own directory; run by the keeper

A process of its own, because inside a busy one it would drop the connections of its clients.
"""

from __future__ import annotations

import json
from pathlib import Path

from fakeredis import FakeServer, TcpFakeServer


def main() -> None:
    """Serve at the port that `server.json` names, until a signal ends the process."""
    facts = json.loads(Path("server.json").read_text())
    server = TcpFakeServer(("127.0.0.1", facts["port"]))
    server.daemon_threads = True
    server.fake_server = FakeServer(server_type="redis", config={b"requirepass": facts["password"].encode()})
    server.serve_forever()


if __name__ == "__main__":
    main()

__all__ = ["main"]
