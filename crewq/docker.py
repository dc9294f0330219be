"""The Docker engine, through its command line: that knows contexts, remote engines and their credentials already."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import time

from crewq import errors

log = logging.getLogger("crewq.sandbox")

PATIENCE = 30.0  # seconds for an answer of the engine, which takes milliseconds when it is well
LIFETIME = 3600  # seconds after which a container ends by itself, whatever happens; its session begins anew
REMOVED_AFTER = LIFETIME + 300  # seconds: then any worker removes it, as it should not be there any more
LABEL = "crewq.sandbox"  # holds the time (Unix, seconds) from which on it may be removed

NOBODY = "65534:65534"
PROCESSES = 64  # and threads; two are crewq's own
SCRATCH = "64m"  # for /tmp, which is in memory and counts as such
# An engine may be set up to give every container the addresses of proxies, with their passwords.
PROXIES = tuple(
    f"{name}=" for kind in ("HTTP", "HTTPS", "FTP", "ALL", "NO") for name in (f"{kind}_PROXY", f"{kind}_proxy".lower())
)
ENVIRONMENT = ("HOME=/tmp", "OMP_NUM_THREADS=1", *PROXIES)  # numpy would start a thread for each processor it sees

# What `docker run` would leave out with no more than a warning.
NEEDED = {"MemoryLimit": "memory", "SwapLimit": "swap", "PidsLimit": "processes", "CpuCfsQuota": "processors"}


def check(image: str) -> None:
    """Make sure that an engine answers and has `image`, and that nothing of that can be written to.

    Raises:
        SandboxUnavailable: it is not so.
    """
    if shutil.which("docker") is None:
        raise unavailable("the command docker is not on PATH.", "Install Docker.")
    found = _ask("image", "inspect", "--format", "{{json .Config.Volumes}}", image)
    if found.returncode == 0 and found.stdout.strip() not in ("null", "{}"):
        raise unavailable(
            f"the image {image} has volumes, which the code could fill: {found.stdout.strip()}",
            "Make an image without VOLUME, and name it in CREWQ_SANDBOX_IMAGE.",
        )
    if found.returncode and "no such image" in found.stderr.lower():
        raise unavailable(
            f"the image {image} is not on this machine.",
            f"Run: docker pull {image} (or name another one in CREWQ_SANDBOX_IMAGE).",
        )
    if found.returncode:
        raise _silent(found.stderr)


def check_limits() -> None:
    """Make sure that the engine can hold containers to limits.

    Raises:
        SandboxUnavailable: it cannot.
    """
    told = _ask("info", "--format", "{{json .}}")
    about = json.loads(told.stdout or "{}")
    if told.returncode or about.get("ServerErrors"):
        raise _silent(told.stderr or " ".join(about["ServerErrors"]))
    missing = [what for name, what in NEEDED.items() if not about.get(name)]
    if missing:
        raise unavailable(
            f"this Docker engine cannot limit {', '.join(missing)}.",
            "Use cgroup version 2, or on version 1 start Linux with swapaccount=1 cgroup_enable=memory.",
        )


def command(name: str, image: str, memory: int, program: list[str]) -> list[str]:
    """How a container is started: with no network, no privilege, nothing to write to but /tmp, and limits to everything.

    Args:
        name: the container's.
        image: what it is made of.
        memory: bytes that it may use in all, swap included.
        program: the arguments of its Python.
    """
    fixed = (
        f"run --rm --interactive --pull=never --init=false --no-healthcheck --log-driver=none --name={name} "
        f"--label={LABEL}={int(time.time()) + REMOVED_AFTER} "
        f"--network=none --read-only --tmpfs=/tmp:rw,noexec,nosuid,nodev,size={SCRATCH},mode=1777 --workdir=/tmp "
        f"--user={NOBODY} --cap-drop=ALL --security-opt=no-new-privileges --ulimit=core=0:0 "
        f"--pids-limit={PROCESSES} --memory={memory} --memory-swap={memory} --cpus=1 --entrypoint=python3"
    )
    environment = (f"--env={entry}" for entry in ENVIRONMENT)
    return ["docker", *fixed.split(), *environment, image, *program]


def remove(name: str) -> None:
    """Kill and remove a container, if it is still there. If the engine does not answer, that is left to the container
    itself, which ends when nobody talks to it any more, and to `sweep`."""
    try:
        _ask("rm", "--force", "--volumes", name)
    except errors.SandboxUnavailable as error:
        log.warning("the container %s may live for some seconds more: %s", name, error)


def sweep() -> None:
    """Remove containers of any worker that should have ended by now.

    Raises:
        SandboxUnavailable: the engine does not answer.
    """
    listed = _ask("ps", "--all", "--filter", f"label={LABEL}", "--format", f'{{{{.ID}}}} {{{{.Label "{LABEL}"}}}}')
    if listed.returncode:
        raise _silent(listed.stderr)
    for line in listed.stdout.splitlines():
        container, _, removable_from = line.partition(" ")
        if removable_from.isdigit() and int(removable_from) < time.time():
            remove(container)


def _ask(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise _silent(f"nothing within {PATIENCE:g} s") from error
    except OSError as error:
        raise _silent(str(error)) from error


def unavailable(reason: str, advice: str) -> errors.SandboxUnavailable:
    """The error that the sandbox cannot be used."""
    return errors.SandboxUnavailable(sandbox="container", reason=reason, advice=advice)


def _silent(said: str) -> errors.SandboxUnavailable:
    return unavailable(
        f"no Docker engine answers ({' '.join(said.split())[-300:]}).",
        "Start it, let this user talk to it, or name another one in DOCKER_HOST; `docker info` shows whether it answers.",
    )


__all__ = ["LIFETIME", "check", "check_limits", "command", "remove", "sweep", "unavailable"]
