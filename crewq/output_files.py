"""Writing a task's `output_file`: below the output directory, and nowhere else, whatever was interpolated into its name."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from crewq import errors
from crewq.outputs import TaskOutput


def write_output(base: Path, name: str, output: TaskOutput, create_directory: bool) -> Path:
    """Write an output as CrewAI does: JSON indented if it has any, else its text; UTF-8.

    Args:
        base: the output directory.
        name: the file, relative to it; a leading slash is dropped, as in CrewAI.
        output: what to write.
        create_directory: whether to make the directories above it.

    Raises:
        OutputFileRefused: it lies outside `base`.
        OutputFileUnwritable: the directory is missing and must not be made, or the system refuses.
    """
    path = _below(base, name)
    text = output.raw if output.json_dict is None else json.dumps(output.json_dict, indent=2, ensure_ascii=False)
    partial = path.with_name(f".{uuid.uuid4().hex}.part")  # of its own: other runs may be writing the same file
    try:
        if create_directory:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)  # in one step: nobody ever reads half an output
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise errors.OutputFileUnwritable(path=str(path), reason=error.strerror or str(error)) from error
    return path


def _below(base: Path, name: str) -> Path:
    base = base.resolve()
    try:
        path = (base / name.lstrip("/\\")).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, or a NUL in the name
        raise errors.OutputFileRefused(path=name) from error
    if path == base or not path.is_relative_to(base):
        raise errors.OutputFileRefused(path=name)
    return path


__all__ = ["write_output"]
