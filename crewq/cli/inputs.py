"""Inputs from the command line and from files. Whatever is wrong names the file and the line; nothing is started then."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import click

from crewq import errors

Inputs: TypeAlias = dict[str, Any]


def read_inputs(pairs: Sequence[str], file: Path | None) -> Inputs | list[Inputs]:
    """The inputs of one run, or a list of them for one run each.

    Args:
        pairs: `name=value`; they are added to all inputs of the file, and win over them.
        file: JSON (an object, or a list of objects), JSON lines, or CSV with a header.

    Raises:
        click.BadParameter: a pair has no `=`.
        InputFileUnusable, InputFileBroken: the file cannot be read as what its name says.
    """
    given = read_pairs(pairs)
    if file is None:
        return given
    found = _read_file(file)
    return [{**one, **given} for one in found] if isinstance(found, list) else {**found, **given}


def read_pairs(pairs: Sequence[str], option: str = "--input") -> Inputs:
    """`name=value` of each; a value that is JSON is read as such, any other is text.

    Raises:
        click.BadParameter: one has no `=`, or no name.
    """
    named: Inputs = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{pair!r} is not of the form name=value.", param_hint=option)
        named[name.strip()] = _value(value)
    return named


def read_texts(pairs: Sequence[str], option: str) -> dict[str, str]:
    """`name=text` of each; the text stays as it is.

    Raises:
        click.BadParameter: one has no `=`, or no name.
    """
    read_pairs(pairs, option)
    return {name.strip(): text for name, _, text in (pair.partition("=") for pair in pairs)}


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text


def _no_number(text: str) -> Any:
    """NaN and Infinity are not JSON, though Python reads them."""
    raise json.JSONDecodeError("not a number", text, 0)


# -- files -------------------------------------------------------------------------------------------------


def _read_file(file: Path) -> Inputs | list[Inputs]:
    readers: dict[str, Callable[[Path, str], Inputs | list[Inputs]]] = {
        ".json": _json,
        ".jsonl": _json_lines,
        ".ndjson": _json_lines,
        ".csv": _csv,
    }
    reader = readers.get(file.suffix.lower())
    if reader is None:
        reason = f"{file.suffix or 'a name without an ending'!r} is not known. Name it .json, .jsonl or .csv."
        raise errors.InputFileUnusable(file=file, reason=reason)
    found = reader(file, _text(file))
    if found == []:
        raise errors.InputFileUnusable(file=file, reason="it holds no inputs, so there is nothing to run.")
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise errors.InputFileUnusable(file=file, reason=f"{error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise errors.InputFileUnusable(file=file, reason=f"it is not UTF-8 text ({error}).") from error


def _json(file: Path, text: str) -> Inputs | list[Inputs]:
    found = _parsed(file, text)
    if isinstance(found, dict):
        return found
    if not isinstance(found, list):
        raise errors.InputFileUnusable(file=file, reason="it must hold an object, or a list of objects.")
    for at, item in enumerate(found, start=1):
        if not isinstance(item, dict):
            raise errors.InputFileUnusable(file=file, reason=f"item {at} of its list is not an object.")
    return found


def _json_lines(file: Path, text: str) -> list[Inputs]:
    return [_object(file, line, at) for at, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _object(file: Path, line: str, at: int) -> Inputs:
    found = _parsed(file, line, at)
    if not isinstance(found, dict):
        raise errors.InputFileBroken(file=file, line=at, reason="it is not a JSON object.")
    return found


def _parsed(file: Path, text: str, line: int = 1) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        reason = f"it is not JSON: {error.msg} (column {error.colno})."
        raise errors.InputFileBroken(file=file, line=line + error.lineno - 1, reason=reason) from error
    except RecursionError as error:
        raise errors.InputFileBroken(file=file, line=line, reason="it is nested too deeply.") from error
    except ValueError as error:  # a number of thousands of digits: the reader does not say where
        raise errors.InputFileBroken(file=file, line=line, reason=f"it cannot be read: {error}.") from error


def _csv(file: Path, text: str) -> list[Inputs]:
    """All values stay text: a CSV file does not say what else they could be."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        _check_header(file, header)
        return list(_rows(file, header, rows))
    except csv.Error as error:
        raise errors.InputFileBroken(file=file, line=rows.line_num, reason=f"it is not CSV: {error}.") from error


def _check_header(file: Path, header: list[str]) -> None:
    if not header:
        raise errors.InputFileUnusable(file=file, reason="its first line must name the columns, which are the inputs.")
    if not all(header):
        raise errors.InputFileBroken(file=file, line=1, reason="a column of the header has no name.")
    if twice := [name for name in dict.fromkeys(header) if header.count(name) > 1]:
        raise errors.InputFileBroken(file=file, line=1, reason=f"the column {twice[0]!r} is there twice.")


def _rows(file: Path, header: list[str], rows: Any) -> Iterator[Inputs]:
    for row in rows:
        if len(row) not in (0, len(header)):
            reason = f"it has {len(row)} values, and the header names {len(header)} columns."
            raise errors.InputFileBroken(file=file, line=rows.line_num, reason=reason)
        if row:
            yield dict(zip(header, row, strict=True))


__all__ = ["Inputs", "read_inputs", "read_pairs", "read_texts"]
