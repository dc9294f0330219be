"""The command `key`: a key under which texts are encrypted in Redis."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from crewq.keyring import is_key_id, new_key


@click.command()
@click.argument("name", required=False)
def key(name: str | None) -> None:
    """Make a key for CREWQ_ENCRYPTION_KEYS, under which inputs, outputs and conversations are encrypted in Redis.

    NAME is what Redis and errors call it; without one, it is called by today's date. The key is printed and kept nowhere:
    give it to all workers and producers, and keep a copy, as nothing can be read without it.

    \b
    Examples:
      crewq key > crewq.key
      CREWQ_ENCRYPTION_KEYS_FILE=crewq.key crewq worker
    """
    name = name or f"{datetime.now(UTC):%Y-%m-%d}"
    if not is_key_id(name):
        raise click.BadParameter(
            f"{name!r} is none: letters, digits and -, _ or a dot, and not plain.", param_hint="NAME"
        )
    click.echo(new_key(name))


__all__ = ["key"]
