"""What a model's code might try, against every sandbox. Whether it got out is looked at from outside."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from crewq.agent.sandbox import Execution, Sandbox, Session
from tests.sandboxes import EVERY_SANDBOX, opened

SECRET = "sk-do-not-show-this"
PATIENCE = 3.0  # seconds past the limit, in which a container is removed and a busy machine takes breath

# Each may use the names that `Outside.prelude` defines.
REACHING_OUT = {
    "read a file": "print(open(secret).read())",
    "read a file from above": "print(open('../../../..' + secret).read())",
    "read a file by pathlib": "import pathlib\nprint(pathlib.Path(secret).read_text())",
    "read a file by descriptor": "import os\nprint(os.read(os.open(secret, 0), 100))",
    "read the accounts": "print(open('/etc/passwd').read())",
    "list a folder": "import os\nprint(os.listdir(folder))",
    "walk the root": "import os\nwalked = list(os.walk('/'))\nassert walked\nfor at, _, files in walked:\n"
    "  if 'secret' in files: print(open(at + '/secret').read())",
    "write a file": "open(new, 'w').write('x')",
    "write a file by pathlib": "import pathlib\npathlib.Path(new).write_text('x')",
    "make a folder": "import os\nos.makedirs(new)",
    "link a file": "import os\nos.symlink('/etc/passwd', new)",
    "write over a file": "open(secret, 'w').write('x')",
    "delete a file": "import os\nos.remove(secret)",
    "read the environment": "import os\nprint(os.environ)",
    "read a variable": "import os\nprint(os.environ['CREWQ_TEST_SECRET'])",
    "get a variable": "import os\nprint(os.getenv('CREWQ_TEST_SECRET'))",
    "read the environment of a module": "import sys\nprint(sys.modules['os'].environ)",
    "read the own process": "print(open('/proc/self/environ').read())",
    "read the parent": "print(open(f'/proc/{parent}/environ').read())",
    "read the first process": "print(open('/proc/1/environ').read(), open('/proc/1/cmdline').read())",
    "read all processes": "import glob\nfor name in glob.glob('/proc/[0-9]*/environ'):\n"
    "  try: print(open(name).read())\n  except PermissionError: pass",
    "read files through a process": "print(open(f'/proc/{parent}/root' + secret).read())",
    "read memory": "import os\nfor line in open(f'/proc/{parent}/maps'): print(line)",
    "connect": "import socket\nsocket.create_connection(('127.0.0.1', port), 1)",
    "connect to the bridge": "import socket\nsocket.create_connection(('172.17.0.1', port), 1)",
    "connect to the machine": "import socket\nsocket.create_connection((address, port), 1)",
    "connect by HTTP": "import urllib.request\nurllib.request.urlopen(f'http://127.0.0.1:{port}', timeout=1)",
    "connect by http.client": "from http import client\nclient.HTTPConnection('127.0.0.1', port).request('GET', '/')",
    "connect by asyncio": "import asyncio\nawait asyncio.open_connection('127.0.0.1', port)",
    "connect by a device": "open(f'/dev/tcp/127.0.0.1/{port}')",
    "talk to the engine": "import socket\nsocket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
    "start a process": "import subprocess\nsubprocess.run(['touch', new], check=True)",
    "start a shell": "import os\nassert os.system('touch ' + new) == 0",
    "become a process": "import os\nos.execv('/bin/touch', ['touch', new])",
    "start a thread": "import threading\none = threading.Thread(target=lambda: open(new, 'w'))\none.start(); one.join()",
    "start a process by multiprocessing": "from multiprocessing import Process\nProcess(target=open, args=(new, 'w')).start()",
    "start a terminal": "import pty\npty.spawn(['touch', new])",
    "ctypes": "import ctypes\nassert ctypes.CDLL(None).system(b'touch ' + new.encode()) == 0",
    "import by name": "__import__('os').system('touch ' + new)",
    "import by importlib": "import importlib\nimportlib.import_module('os').system('touch ' + new)",
    "eval": "eval(\"__import__('os').system('touch ' + new)\")",
    "exec": "exec(\"import os; os.system('touch ' + new)\")",
    "all classes": "[c for c in ().__class__.__bases__[0].__subclasses__() if 'Popen' in c.__name__][0](['touch', new])",
    "globals of a function": "(lambda: 0).__globals__['__builtins__'].open(new, 'w')",
    "frame of a traceback": "try:\n    1 / 0\nexcept Exception as e:\n    e.__traceback__.tb_frame.f_globals['open'](new, 'w')",
    "frames above": "import sys\nframe = sys._getframe()\nwhile frame: print(frame.f_globals.keys()); frame = frame.f_back",
    "loader of a builtin": "print.__self__.__loader__.load_module('posix').system('touch ' + new)",
    "format": "'{0.__class__.__init__.__globals__}'.format(print)",
    "signal the parent": "import os\nos.kill(parent, 10)",
    "signal the one above": "import os\nos.kill(os.getppid(), 10)",
    "signal the group": "import os\nos.killpg(0, 10)",
    "signal by descriptor": "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(parent), 10)",
    "signal all": "import os\nos.kill(-1, 10)",
    "end the first process": "import os\nos.kill(1, 9)",
    "end oneself": "import os\nos._exit(0)",
}
PAST_LIMITS = {
    "endless loop": "while True: pass",
    "endless loop that catches": "def f():\n  while True:\n    try:\n      while True: pass\n"
    "    except BaseException: pass\nf()",
    "endless sum": "sum(i for i in range(10**15))",
    "endless regular expression": "import re\nwhile True: re.match(r'(a+)+$', 'a' * 30 + 'b')",
    "endless recursion": "def f(n): return f(n + 1)\nf(0)",
    "endless recursion without a limit": "import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f(n + 1)\nf(0)",
    "endless comparison": "x = []\nfor i in range(200_000): x = [x]\nx == [x]\nwhile True: pass",
    "endless comparison with itself": "x = []\nx.append(x)\nx == [x]\nwhile True: pass",
    "endless text of a value": "x = []\nfor i in range(200_000): x = [x]\nrepr(x)\nwhile True: pass",
    "10 GB of text": "x = 'a' * 10**10",
    "10 GB of list": "x = [0] * 10**10",
    "10 GB bit by bit": "x = []\nwhile True: x.append('a' * 1000)",
    "a huge number": "10 ** 10 ** 8",
    "10 GB by many": "import os\nfor i in range(20):\n  if os.fork() == 0:\n    x = bytearray(10**8)\n    while True: pass\n"
    "while True: pass",
    "10 GB of files": "with open('/tmp/big', 'wb') as file:\n  while True: file.write(bytes(10**6))",
    "10 GB of shared memory": "with open('/dev/shm/big', 'wb') as file:\n  while True: file.write(bytes(10**6))",
    "fork bomb": "import os\nwhile True: os.fork()",
    "fork bomb that catches": "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
    "thread bomb": "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()",
    "huge output": "for i in range(300): print('x' * 10**6)",
    "endless output": "while True: print('x' * 1000)",
    "endless output past Python": "import os\nwhile True: os.write(1, b'x' * 10**5)",
    "endless errors": "import sys\nwhile True: print('x' * 1000, file=sys.stderr)",
    "endless output of a child": "import os\nif os.fork() == 0:\n  while True: os.write(1, b'x' * 10**5)\nos.wait()",
    "huge value": "list(range(10**5))",
    "huge error": "raise ValueError('x' * 10**6)",
    "write beside /tmp": "open('/home/x', 'w')",
    "write to the root": "open('/x', 'w')",
    "run from /tmp": "import os, shutil\nshutil.copy('/bin/true', '/tmp/true')\nos.execv('/tmp/true', ['true'])",
    "become root": "import os\nos.setuid(0)",
    "become root by sudo": "import subprocess\nsubprocess.run(['su', '-c', 'id'], check=True, stdin=subprocess.DEVNULL)",
    "leave the root": "import os\nos.chroot('/proc')",
    "new namespace": "import ctypes\nif ctypes.CDLL(None).unshare(0x10020000): raise PermissionError",
    "mount": "import ctypes\nif ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, 0): raise PermissionError",
    "look into the first process": "import ctypes\nif ctypes.CDLL(None).ptrace(16, 1, 0, 0): raise PermissionError",
    "stop the clock": "import signal\nsignal.alarm(0)\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass",
    "set the kernel": "open('/proc/sys/kernel/hostname', 'w').write('x')",
    "set the limits": "import glob\ndef sets(name):\n  try: return open(name, 'w').write('-1')\n  except OSError: return 0\n"
    "if not sum(map(sets, glob.glob('/sys/fs/cgroup/**/*', recursive=True))): raise PermissionError",
    "break memory": "import ctypes\nctypes.string_at(0)",
    "look up a name": "import socket\nsocket.getaddrinfo('example.com', 80)",
    "break the parser": "-" * 90_000 + "1",
}


class Outside:
    """What there is to be reached outside of a sandbox, and whether it was."""

    def __init__(self, folder: Path, server: socket.socket) -> None:
        self.folder = folder
        self.server = server
        self.secret = folder / "secret"
        self.secret.write_text(SECRET)
        self.signals: list[int] = []

    def prelude(self) -> str:
        """The names that attacks use."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            any_socket.connect(("192.0.2.1", 9))  # sends nothing, but chooses the address that would be sent from
            address = any_socket.getsockname()[0]
        names = {"secret": str(self.secret), "folder": str(self.folder), "new": str(self.folder / "new")}
        names |= {"address": address}
        numbers = {"parent": os.getpid(), "port": self.server.getsockname()[1]}
        return "".join(f"{name} = {value!r}\n" for name, value in (names | numbers).items())

    def assert_unreached(self, execution: Execution) -> None:
        """Nothing was read, written, connected to or signalled."""
        told = execution.output + (execution.error or "")
        assert SECRET not in told
        assert Path("/etc/passwd").read_text() not in told
        assert [path.name for path in self.folder.iterdir()] == ["secret"]
        assert self.secret.read_text() == SECRET
        assert self.signals == []
        with pytest.raises(BlockingIOError):
            self.server.accept()


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    monkeypatch.setenv("CREWQ_TEST_SECRET", SECRET)
    with socket.create_server(("", 0)) as listening:
        listening.settimeout(0)
        outside = Outside(tmp_path, listening)
        before = signal.signal(signal.SIGUSR1, lambda number, frame: outside.signals.append(number))
        yield outside
        signal.signal(signal.SIGUSR1, before)


@pytest.fixture(scope="module", params=EVERY_SANDBOX)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    os.environ["CREWQ_TEST_SECRET"] = SECRET  # also in what it starts now
    with opened(request.param, seconds={"monty": 0.5, "container": 2}[request.param]) as found:
        yield found
    del os.environ["CREWQ_TEST_SECRET"]


@pytest.fixture(scope="module")
def session(sandbox: Sandbox) -> Iterator[Session]:
    with sandbox.session() as opened_session:
        yield opened_session


@pytest.mark.parametrize("attack", [*REACHING_OUT, *PAST_LIMITS])
def test_hostile_code_reaches_nothing_and_is_held_to_its_limits(
    sandbox: Sandbox, session: Session, outside: Outside, attack: str
) -> None:
    code = REACHING_OUT.get(attack) or PAST_LIMITS[attack]
    execution = session.run(outside.prelude() + code)
    outside.assert_unreached(execution)
    # A container has a small inside of its own, in which some of it can be done; the other one has nothing.
    assert execution.error or (sandbox.name == "container" and attack in REACHING_OUT)
    assert execution.seconds < session.limits.seconds + PATIENCE
    assert len(execution.output.encode()) <= session.limits.output_bytes
    assert session.run("6 * 7").output == "42\n"
