"""What runs inside a sandbox's container: a guard, which is its first process, and the interpreter, which runs the code.

It reaches the container as text, for `python3 -c`, so it uses nothing but Python's standard library. The code may do to
the interpreter what it likes; the guard is out of its reach: the kernel keeps signals from inside away from the first
process of a container, and other processes may not look into this one.

A request is a line: a mark that is never used again, and the code as JSON. The reply is all that was printed, the mark,
and a line of JSON: the traceback and whether the interpreter is still fit for use. The code never sees the mark, so it
cannot pass anything off as a reply.
"""

from __future__ import annotations

import ast
import ctypes
import inspect
import io
import json
import linecache
import os
import resource
import signal
import sys
import time
import traceback
import types
from contextlib import suppress
from pathlib import Path
from typing import Any

READY = b"ready\n"
REPLY_LIMIT = 2**20  # bytes: more than the longest traceback that is passed on
ERROR_LIMIT = 2**16  # characters
UNDUMPABLE = (4, 0)  # prctl's PR_SET_DUMPABLE: nobody else reads this process's memory, environment or files


def main() -> None:
    """Start both processes.

    Arguments of the command line: seconds that the container may live, seconds that one run may take, and bytes of memory
    that a process may ask for.
    """
    lifetime, seconds, memory = map(int, sys.argv[1:])
    asked, ask = os.pipe()
    answered, answer = os.pipe()
    interpreter = os.fork()
    if not interpreter:
        os.close(ask)
        os.close(answered)
        interpret(asked, answer, memory)
        os._exit(0)
    os.close(asked)
    os.close(answer)
    ctypes.CDLL(None).prctl(*UNDUMPABLE)
    os._exit(guard(interpreter, ask, answered, lifetime, seconds))


# -- the guard ---------------------------------------------------------------------------------------------


def guard(interpreter: int, ask: int, answered: int, lifetime: int, seconds: int) -> int:
    """Pass requests on and replies back; between them nothing but this process runs. When this returns, the container ends.

    It ends when nobody can ask any more, when time is over, and when the interpreter has died: that gives its exit code.
    """
    ends = time.monotonic() + lifetime
    signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + signal.SIGALRM))
    signal.alarm(lifetime)
    os.write(1, READY)
    with open(ask, "wb") as requests, open(answered, "rb") as answers:
        for line in sys.stdin.buffer:
            mark, _, code = line.partition(b" ")
            signal.alarm(seconds)
            os.kill(-1, signal.SIGCONT)
            requests.write(code)
            requests.flush()
            answer = answers.readline(REPLY_LIMIT)
            if not answer.endswith(b"\n"):
                return _exit_code(interpreter)
            os.kill(-1, signal.SIGSTOP)
            _end_all_but(interpreter)
            signal.alarm(max(1, int(ends - time.monotonic())))
            sys.stdout.buffer.write(mark + answer)
            sys.stdout.buffer.flush()
    return 0


def _exit_code(process: int) -> int:
    os.kill(-1, signal.SIGKILL)  # what the code has left behind may still hold the pipe
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return code if code >= 0 else 128 - code


def _end_all_but(interpreter: int) -> None:
    """End what the code has left behind, and take leave of what has no parent; it would count as running."""
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) not in (os.getpid(), interpreter):
            os.kill(int(process.name), signal.SIGKILL)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


# -- the interpreter ---------------------------------------------------------------------------------------


def interpret(asked: int, answer: int, memory: int) -> None:
    """Run what is asked for, one after the other, in one namespace."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(1, 2)  # errors are printed among the output
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, this is the process to end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="replace")
    process = os.getpid()
    program = sys.modules["__main__"] = types.ModuleType("__main__")
    with open(asked, encoding="utf-8") as requests:
        for number, line in enumerate(requests, 1):
            error, fit = perform(json.loads(line), f"<call {number}>", program.__dict__)
            if os.getpid() != process:
                os._exit(0)  # a child, which the code has let run on to here
            os.write(answer, json.dumps([error, fit]).encode() + b"\n")


def perform(code: str, name: str, names: dict[str, Any]) -> tuple[str | None, bool]:
    """Run `code`, and show the value of its last statement if that is an expression, as an interactive Python does.

    Returns:
        The traceback, if it raised, and whether the interpreter is fit to run more.
    """
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    try:
        value: Any = None
        for part in _parts(code, name):
            value = eval(part, names)  # noqa: S307 - this is what the container is there for
            if part.co_flags & inspect.CO_COROUTINE:
                value = _awaited(value)
        if value is not None:
            names["_"] = value
            print(repr(value))  # noqa: T201 - as at a prompt
    except BaseException as error:  # noqa: BLE001 - the code may raise anything
        return _told(error), not isinstance(error, MemoryError)
    finally:
        with suppress(Exception):
            sys.stdout.flush()
    return None, True


def _parts(code: str, name: str) -> list[types.CodeType]:
    tree = ast.parse(code, name)
    last = [tree.body.pop()] if tree.body and isinstance(tree.body[-1], ast.Expr) else []
    trees: list[ast.Module | ast.Expression] = [tree]
    trees += [ast.Expression(one.value) for one in last if isinstance(one, ast.Expr)]
    kinds = ("exec", "eval")
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return [compile(part, name, kind, flags) for part, kind in zip(trees, kinds, strict=False)]


def _awaited(value: Any) -> Any:
    import asyncio  # few need it, and it is most of what there is to load

    return asyncio.run(value)


def _told(error: BaseException) -> str:
    """The traceback, without this file's part of it."""
    trace = error.__traceback__
    while trace and not trace.tb_frame.f_code.co_filename.startswith("<call "):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip()[:ERROR_LIMIT]


__all__ = ["READY", "REPLY_LIMIT", "guard", "interpret", "main", "perform"]

if __name__ == "__main__":
    main()
