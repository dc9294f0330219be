"""workers/k8s: what is in it can be applied, and says the same as docker-compose.yml and the image.

Each object is held against the schemas of Kubernetes, as strictly as a server with `--validate=strict` would; that of KEDA,
KEDA, as far as it is used, against what https://keda.sh/docs/latest/reference/scaledobject-spec/ has.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import jsonschema
import kubernetes_validate
import pytest
import yaml

from crewq.cli import main
from crewq.exporter import GAUGES, StoreCollector
from crewq.store import Reading
from tests.pages import ROOT, blocks

K8S = ROOT / "workers" / "k8s"
VERSIONS = ["1.29", kubernetes_validate.latest_version()]  # the oldest that it is meant for, and the newest there is
IMAGE = (ROOT / "workers" / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["worker"]
TOOL = [tool] if (tool := shutil.which("kustomize")) else [shutil.which("kubectl") or "", "kustomize"]

SCALED_OBJECT = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "keda.sh/v1alpha1"},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["scaleTargetRef", "triggers"],
            "properties": {
                "scaleTargetRef": {"type": "object", "required": ["name"]},
                **{key: {"type": "integer"} for key in ("minReplicaCount", "maxReplicaCount", "pollingInterval")},
                "advanced": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "horizontalPodAutoscalerConfig": {"type": "object"},
                    },
                },
                "triggers": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["type", "metadata"],
                        "properties": {
                            "type": {"const": "metrics-api"},
                            "name": {"type": "string"},
                            "metricType": {"enum": ["AverageValue", "Value"]},
                            "metadata": {
                                "type": "object",
                                "additionalProperties": False,
                                "required": ["url", "valueLocation", "targetValue"],
                                "properties": {
                                    **{key: {"type": "string"} for key in ("url", "valueLocation", "targetValue")},
                                    "format": {"const": "prometheus"},
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


def objects(*texts: str) -> list[Any]:
    return [found for text in texts for found in yaml.safe_load_all(text)]


def built(folder: Path) -> list[Any]:
    done = subprocess.run([*TOOL, str(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return objects(done.stdout)


FOLDERS = [K8S / "base", *sorted((K8S / "components").iterdir())]
FILES = [file for folder in FOLDERS for file in sorted(folder.glob("*.yaml")) if file.stem != "kustomization"]
EVERYTHING = objects(*(file.read_text() for file in FILES))
BASE = objects(*(file.read_text() for file in FILES if file.parent.name == "base"))


def only(kind: str, name: str, among: list[Any] = EVERYTHING) -> Any:
    (found,) = [one for one in among if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


WORKER, METRICS = only("Deployment", "crewq-worker"), only("Deployment", "crewq-metrics")
BEAT, FLOWER = only("Deployment", "crewq-beat"), only("Deployment", "crewq-flower")
BESIDE = [METRICS, BEAT, FLOWER]
SERVED = {"crewq-metrics": METRICS, "crewq-flower": FLOWER}


def container(deployment: Any) -> Any:
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


def check(found: Any, version: str) -> None:
    if found["kind"] == "ScaledObject":
        jsonschema.validate(found, SCALED_OBJECT)
        behavior = found["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        found = {  # that part of it is Kubernetes's own
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "x"},
            "spec": {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "x"}, "behavior": behavior},
        }
    kubernetes_validate.validate(found, version, strict=True)


# -- what a server would say -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("found", EVERYTHING, ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
def test_an_object_is_as_its_schema_says(found: Any, version: str) -> None:
    check(found, version)


def test_the_schemas_refuse_a_slip_of_the_pen() -> None:
    broken = yaml.safe_load(yaml.safe_dump(WORKER))
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 60
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        check(broken, VERSIONS[-1])
    scaling = yaml.safe_load(yaml.safe_dump(only("ScaledObject", "crewq-worker")))
    scaling["spec"]["triggers"][0]["metadata"]["targetValue"] = 24  # a number, where KEDA wants a text
    with pytest.raises(jsonschema.ValidationError, match="24"):
        check(scaling, VERSIONS[-1])


def test_every_file_is_named_and_every_name_is_a_file() -> None:
    for folder in (*FOLDERS, *(K8S / "overlays").iterdir()):
        about = yaml.safe_load((folder / "kustomization.yaml").read_text())
        named = {
            *about["resources"],
            *about.get("components", ()),
            *(patch["path"] for patch in about.get("patches", ()) if "path" in patch),
        }
        assert all((folder / name).exists() for name in named)
        assert {file.name for file in folder.glob("*.yaml")} - {"kustomization.yaml"} == {
            name for name in named if name.endswith(".yaml")
        }


# -- what they have to do with each other ----------------------------------------------------------------------------


def test_a_selector_finds_its_pods_and_a_reference_its_object() -> None:
    for deployment in (WORKER, *BESIDE):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    name = container(WORKER)["envFrom"][0]["configMapRef"]["name"]
    (generated,) = yaml.safe_load((K8S / "base" / "kustomization.yaml").read_text())["configMapGenerator"]
    assert name == generated["name"]
    assert {entry.split("=")[0] for entry in generated["literals"]} == {"CREWQ_REDIS_URL", "CREWQ_REDIS_PASSWORD_FILE"}
    workers = WORKER["spec"]["template"]["metadata"]["labels"].items()
    assert only("PodDisruptionBudget", "crewq-worker")["spec"]["selector"]["matchLabels"].items() <= workers
    for service, pods in SERVED.items():
        about = only("Service", service)["spec"]
        assert about.get("type", "ClusterIP") == "ClusterIP"
        assert about["selector"].items() <= pods["spec"]["template"]["metadata"]["labels"].items()
        assert about["ports"][0]["targetPort"] in {port["name"] for port in container(pods)["ports"]}


def test_workers_are_scaled_by_what_waits_and_what_is_worked_on() -> None:
    scaling = only("ScaledObject", "crewq-worker")["spec"]
    assert scaling["scaleTargetRef"]["name"] == WORKER["metadata"]["name"]
    assert "replicas" not in WORKER["spec"]  # or each `kubectl apply` would set it back
    (trigger,) = scaling["triggers"]
    assert trigger["metadata"]["valueLocation"] == "crewq_tasks_active"  # both of them together
    assert trigger["metricType"] == "AverageValue"  # so many for each worker
    port = only("Service", "crewq-metrics")["spec"]["ports"][0]["port"]
    assert trigger["metadata"]["url"] == f"http://crewq-metrics.crewq.svc:{port}/metrics"
    assert scaling["minReplicaCount"] >= 1


@pytest.mark.parametrize("pods", BESIDE, ids=lambda one: one["metadata"]["name"])
def test_what_is_run_beside_the_workers_is_a_command_of_crewqs(pods: Any) -> None:
    program, name, *options = container(pods)["command"]
    command = main.get_command(click.Context(main), name)
    assert program == "crewq"
    assert command is not None
    given = command.make_context(name, options).params
    for port in container(pods).get("ports", ()):
        assert given.get("host", given.get("address")) == "0.0.0.0"
        assert given["port"] == port["containerPort"]
    assert pods["spec"]["replicas"] == 1


def test_what_is_asked_for_is_served() -> None:
    asked = {one["metadata"]["valueLocation"] for one in only("ScaledObject", "crewq-worker")["spec"]["triggers"]}
    nothing = Reading({}, {}, dict.fromkeys(GAUGES, 0), (), {}, ())
    store: Any = SimpleNamespace(metrics=SimpleNamespace(read=lambda: nothing))
    assert asked <= {metric.name for metric in StoreCollector(store).collect()}


def test_the_network_lets_out_what_is_needed_and_nobody_in() -> None:
    worker = only("NetworkPolicy", "crewq-worker")["spec"]
    assert worker["policyTypes"] == ["Ingress", "Egress"]
    assert worker["ingress"] == []
    assert {port["port"] for rule in worker["egress"] for port in rule["ports"]} == {53, 6379, 443}
    policies = [only("NetworkPolicy", pods["metadata"]["name"])["spec"] for pods in BESIDE]
    for policy in policies:
        assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 6379}
        assert policy["policyTypes"] == ["Ingress", "Egress"]
    metrics, *others = (policy["ingress"] for policy in policies)
    assert metrics
    assert all(rule["from"] for rule in metrics)
    assert others == [[], []]
    for policy, pods in zip((worker, *policies), (WORKER, *BESIDE), strict=True):
        labels = pods["spec"]["template"]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("deployment", [WORKER, *BESIDE], ids=lambda one: one["metadata"]["name"])
def test_a_pod_may_do_as_little_as_a_container_of_compose(deployment: Any) -> None:
    pod = deployment["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    uid = int(re.search(r"USER (\d+)", IMAGE)[1])  # type: ignore[index]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": uid,
        "fsGroup": uid,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(deployment)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["name"] for mount in container(deployment)["volumeMounts"]} == {one["name"] for one in pod["volumes"]}


def test_a_worker_has_what_it_has_under_compose() -> None:
    pod, worker = WORKER["spec"]["template"]["spec"], container(WORKER)
    assert f"{pod['terminationGracePeriodSeconds']}s" == COMPOSE["stop_grace_period"]
    assert worker["resources"]["limits"]["memory"].removesuffix("Gi") == COMPOSE["mem_limit"].removesuffix("g")
    command = re.search(r"HEALTHCHECK .*\\\n\s+CMD (.*)", IMAGE)[1]  # type: ignore[index]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert worker[probe]["exec"]["command"] == ["sh", "-c", command]
    assert worker["startupProbe"]["periodSeconds"] * worker["startupProbe"]["failureThreshold"] == 180
    written = set(re.findall(r"CREWQ_(?:DATA|OUTPUT)_DIR=(\S+)", IMAGE)) | {"/tmp"}
    assert written == {mount["mountPath"] for mount in worker["volumeMounts"] if not mount.get("readOnly")}


@pytest.mark.parametrize("deployment", BESIDE, ids=lambda one: one["metadata"]["name"])
def test_what_is_beside_the_workers_sees_no_key_of_a_provider(deployment: Any) -> None:
    (secret,) = [one["secret"] for one in deployment["spec"]["template"]["spec"]["volumes"] if "secret" in one]
    own = {"flower_auth"} if deployment is FLOWER else set()
    keys = set() if deployment is METRICS else {"encryption_keys"}  # which reads nothing that is encrypted
    assert {item["key"] for item in secret["items"]} == {"redis_password", "broker_url"} | keys | own
    assert "envFrom" not in container(deployment)
    given = {one["name"]: one for one in container(deployment)["env"]}
    assert ("CREWQ_ENCRYPTION_KEYS_FILE" in given) == bool(keys)
    assert given.keys() - {"FLOWER_BASIC_AUTH_FILE", "CREWQ_ENCRYPTION_KEYS_FILE"} == {
        "CREWQ_REDIS_URL",
        "CREWQ_REDIS_PASSWORD_FILE",
        "CREWQ_BROKER_URL",
        "CREWQ_BROKER_URL_FILE",
        "CREWQ_NAMESPACE",
    }
    assert ("FLOWER_BASIC_AUTH_FILE" in given) == (deployment is FLOWER)
    files = {one["value"].rpartition("/")[2] for one in given.values() if "value" in one}
    assert files <= {item["path"] for item in secret["items"]}


def test_a_beat_and_flower_have_what_they_have_under_compose() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name, pods in (("beat", BEAT), ("flower", FLOWER)):
        assert container(pods)["resources"]["limits"]["memory"] == services[name]["mem_limit"].replace("m", "Mi")
        assert container(pods)["command"][:2] == services[name]["command"][:2]
    assert container(BEAT)["livenessProbe"]["exec"] == container(WORKER)["livenessProbe"]["exec"]
    assert container(FLOWER)["readinessProbe"]["httpGet"]["path"] == "/healthcheck"  # which asks for no password


# -- what kustomize makes of them ------------------------------------------------------------------------------------


needs_kustomize = pytest.mark.skipif(not TOOL[0], reason="neither kustomize nor kubectl is on PATH")


@needs_kustomize
@pytest.mark.parametrize("folder", ["base", "overlays/example"])
def test_what_is_built_is_as_the_schemas_say(folder: str) -> None:
    found = built(K8S / folder)
    assert len(found) == len(BASE if folder == "base" else EVERYTHING) + 1  # and the environment
    namespace = only("Namespace", yaml.safe_load((K8S / folder / "kustomization.yaml").read_text())["namespace"], found)
    (environment,) = [one for one in found if one["kind"] == "ConfigMap"]
    for one in found:
        for version in VERSIONS:
            check(one, version)
        assert one["metadata"].get("namespace") == (None if one is namespace else namespace["metadata"]["name"])
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "crewq"
    worker = container(only("Deployment", "crewq-worker", found))
    assert worker["envFrom"][0]["configMapRef"]["name"] == environment["metadata"]["name"]
    for pods in (
        one for one in found if one["kind"] == "Deployment" and one is not only("Deployment", "crewq-worker", found)
    ):
        maps = {one["valueFrom"]["configMapKeyRef"]["name"] for one in container(pods)["env"] if "valueFrom" in one}
        assert maps == {environment["metadata"]["name"]}
    for trigger in (one["spec"]["triggers"][0] for one in found if one["kind"] == "ScaledObject"):
        assert f"crewq-metrics.{namespace['metadata']['name']}.svc" in trigger["metadata"]["url"]


@needs_kustomize
def test_the_example_changes_what_it_says() -> None:
    found = built(K8S / "overlays" / "example")
    (environment,) = [one["data"] for one in found if one["kind"] == "ConfigMap"]
    assert environment["CREWQ_REDIS_PASSWORD_FILE"] == "/run/secrets/crewq/redis_password"  # from below
    assert environment["OPENAI_API_KEY_FILE"] == "/run/secrets/crewq/openai_api_key"
    pods = [one["spec"]["template"]["spec"] for one in found if one["kind"] == "Deployment"]
    assert {one["image"] for pod in pods for one in pod["containers"]} == {"registry.example.com/shop-worker:2026.11"}
    worker = only("Deployment", "crewq-worker", found)["spec"]["template"]["spec"]
    volumes = {one["name"]: one for one in worker["volumes"]}
    assert volumes["output"] == {"name": "output", "persistentVolumeClaim": {"claimName": "reports"}}


@needs_kustomize
def test_the_commands_of_the_documentation(tmp_path: Path) -> None:
    """Those that kubectl can carry out without a cluster are; the others name files that are there."""
    (tmp_path / "workers").symlink_to(ROOT / "workers")
    for name in ("redis_password", "openai_api_key", "flower_auth"):
        (tmp_path / name).write_text("secret")
    shown = [block for block in blocks(ROOT / "docs" / "operations.md") if block.section == "Kubernetes"]
    lines = [line for block in shown if block.language == "sh" for line in block.text.splitlines()]
    alone = [line for line in lines if re.match(r"kubectl (kustomize|(-n \w+ )?create) ", line)]
    assert len(alone) == 3
    for line in alone:
        dry = " --dry-run=client -o yaml" if "create" in line else ""
        done = subprocess.run(f"{line}{dry}", shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        for one in objects(done.stdout):
            check(one, VERSIONS[-1])
    for line in lines:
        assert line.startswith("kubectl ")
        assert all((ROOT / name).is_dir() for name in re.findall(r"workers/k8s\S*", line))
