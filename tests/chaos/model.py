"""The model server of the chaos runs, a process outside of what is broken: `python -m tests.chaos.model FOLDER [HOST PORT]`.

It prints its URL, and keeps its ledger in FOLDER/model.jsonl. How it feels stands in FOLDER/mood: `busy` refuses every
call with 429, `silent` never answers, `broken` sends half of every answer; anything else is well.
"""

from __future__ import annotations

import random
import signal
import sys
from dataclasses import replace
from pathlib import Path

from tests.model_server import Behaviour, ModelServer, Request, by_directives, error, hang

SLOWEST = 0.8  # seconds that an answer takes at most
AT_LENGTH = " and so on" * 4_000  # makes an answer one of those that have a blob of their own in Redis
LONG_ONES = 7  # of so many answers, one is long
MOODS = ("busy", "silent", "broken")


def main(folder: Path, host: str = "127.0.0.1", port: str = "0") -> None:
    """Serve until SIGTERM."""
    mood = folder / "mood"

    def respond(request: Request) -> Behaviour:
        feeling = mood.read_text() if mood.exists() else ""
        if feeling == "busy":
            return error(429, retry_after="1")
        if feeling == "silent":
            return hang()
        behaviour = replace(by_directives(request), latency=random.uniform(0.05, SLOWEST))
        if said := behaviour.message.get("content"):
            # The call that is being answered is the last that came in: nothing is awaited in between.
            number = server.ledger[-1].number
            more = "" if number % LONG_ONES or request.get("stream") else AT_LENGTH
            behaviour.message["content"] = f"{said}{more} (answer {number})"
        return replace(behaviour, ends="half") if feeling == "broken" else behaviour

    server = ModelServer(respond, host=host, port=int(port), ledger_file=folder / "model.jsonl")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
