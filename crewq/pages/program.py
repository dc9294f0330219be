"""Flower as a program of crewq's: started only where no stranger can come in."""

from __future__ import annotations

import atexit
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from flower import command, urls
from flower.app import Flower
from tornado.options import Error as WrongOption
from tornado.options import options

from crewq import errors
from crewq.pages.guard import refuse_strangers
from crewq.pages.hook import install
from crewq.producer import Producer

ADDRESS = "127.0.0.1"
COLUMNS = "name,uuid,state,received,started,runtime,worker"  # not args, kwargs and result: they hold nothing


def run_flower(producer: Producer, arguments: Sequence[str]) -> None:
    """Run Flower with crewq's pages until it is stopped.

    Args:
        producer: the way to the runs.
        arguments: Flower's options, `--name=value`; they go before its variables, as in Flower.

    Raises:
        FlowerExposed: others could come in without a password.
        UsageError: Flower does not take such an option.
    """
    read_options(arguments)
    refuse_strangers(options)
    install(producer)
    command.extract_settings()
    command.setup_logging()
    producer.app.set_default()  # Flower looks for the current app in threads of its own
    server = Flower(capp=producer.app, options=options, **urls.settings)
    atexit.register(server.stop)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = server.start_http_server()
    command.print_banner(producer.app, "ssl_options" in urls.settings, port)
    with suppress(KeyboardInterrupt, SystemExit):  # as in Flower
        server.start()


def read_options(arguments: Sequence[str]) -> None:
    """Flower's options: its variables, then its file, then these; with defaults that suit crewq.

    Raises:
        UsageError: Flower does not take one of them.
    """
    options.address, options.tasks_columns = ADDRESS, COLUMNS
    try:
        command.apply_env_options()
        command.apply_options("crewq flower", list(arguments))
    except (WrongOption, ValueError, OSError) as error:
        raise errors.UsageError(reason=f"Flower does not take that: {errors.explain(error)}") from error


__all__ = ["COLUMNS", "read_options", "run_flower"]
