"""Secrets from files: Docker, Compose and Kubernetes mount them below /run/secrets, and a variable says where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from crewq import errors

FOLDER: Final = Path("/run/secrets")
ENDING: Final = "_FILE"


def from_files(environ: Mapping[str, str], folder: Path = FOLDER) -> dict[str, str]:
    """What the variables are whose secret is in a file: `OPENAI_API_KEY_FILE=/run/secrets/openai_key` is `OPENAI_API_KEY`.

    Only files below `folder` count, as programs have variables of that form for files of another kind (`SSL_CERT_FILE`). A
    variable that is set itself stays, and an empty file is as an unset variable.

    Raises:
        SettingInvalid: a file cannot be read.
    """
    names = [
        name.removesuffix(ENDING)
        for name, value in environ.items()
        if name.endswith(ENDING) and Path(value).is_relative_to(folder)
    ]
    found = {name: value_of(environ, name) for name in names if not environ.get(name)}
    return {name: value for name, value in found.items() if value}


def value_of(environ: Mapping[str, str], name: str) -> str:
    """The variable `name`, or what is in the file that `<name>_FILE` names; without either, nothing.

    Raises:
        SettingInvalid: the file cannot be read.
    """
    if environ.get(name) or not environ.get(name + ENDING):
        return environ.get(name, "")
    path = environ[name + ENDING]
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:  # the latter: it is not UTF-8, or no name of a file
        reason = f"it cannot be read: {errors.explain(error)}. A mounted secret has the owner and the mode of its file."
        raise errors.SettingInvalid(variable=name + ENDING, value=path, reason=reason) from error


__all__ = ["FOLDER", "from_files", "value_of"]
