"""The image and the Compose file, as far as that goes without an engine for containers."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, start_refused

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILES = [ROOT / "deploy/Dockerfile", ROOT / "examples/rust-worker/Dockerfile"]
ROLES = {name: service for name, service in SERVICES.items() if "build" in service}
BIN = Path(sys.executable).parent


def test_the_file_is_what_compose_reads():
    check = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True) if shutil.which("docker") else None
    if plugin and plugin.returncode == 0:
        subprocess.run(["docker", "compose", "config", "--quiet"], cwd=ROOT, check=True)


def test_the_topology():
    of = lambda role: [name for name, service in ROLES.items() if service["command"][0] == role]
    assert len(of("gateway")) == 2 and len(of("state")) == 2 and of("worker") == ["worker"]
    assert SERVICES["worker"]["deploy"]["replicas"] >= 2
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command and "--maxmemory-policy noeviction" in command


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_named_by_version(name):
    image = SERVICES[name]["image"]
    assert re.search(r":v?\d+\.\d+\.\d+(-alpine)?$", image) or "${LONGSHORE_VERSION" in image


@pytest.mark.parametrize("name", SERVICES)
def test_files_and_volumes_are_there(name):
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists() and volume.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]
    for needed in SERVICES[name].get("depends_on", []):
        assert needed in SERVICES
        condition = SERVICES[name]["depends_on"]
        if isinstance(condition, dict) and condition[needed]["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[needed]


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_is_reached_from_other_machines(name):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", ROLES)
def test_roles_are_started_as_the_binary_takes_it(name):
    service = ROLES[name]
    settings = dict(service["environment"])
    if "LONGSHORE_EXEC__JOBS" in settings:
        assert settings["LONGSHORE_EXEC__JOBS"] == "/jobs/jobs.toml"
        settings["LONGSHORE_EXEC__JOBS"] = str(ROOT / "examples/jobs.toml")
    assert start_refused(service["command"], settings) is None
    # What `longshore probe` asks by default.
    assert settings["LONGSHORE_ADMIN__LISTEN"].endswith(":9090")
    assert service["healthcheck"]["test"][1:] == ["/usr/local/bin/longshore", "probe"]


def test_roles_have_the_time_that_they_take_to_end():
    defaults = (ROOT / "docs/cli.md").read_text()
    seconds = lambda key: int(re.search(rf"\| `{key}`.*?\| `(\d+)s`", defaults)[1])
    for service in ROLES.values():
        need = {"gateway": lambda: seconds("gateway.shutdown_grace") + 9, "state": lambda: 9,
                "worker": lambda: seconds("worker.drain_timeout") + 9}[service["command"][0]]()
        assert int(service["stop_grace_period"].removesuffix("s")) > need


def test_prometheus_asks_every_role():
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    asked = next(job for job in config["scrape_configs"] if job["job_name"] == "longshore")["dns_sd_configs"][0]
    assert set(asked["names"]) == set(ROLES) and asked["port"] == 9090
    if promtool := shutil.which("promtool"):
        subprocess.run([promtool, "check", "config", ROOT / "deploy/prometheus/prometheus.yml"], check=True)


def test_grafana_finds_its_sources_and_dashboards():
    folder = ROOT / "deploy/grafana/provisioning"
    sources = yaml.safe_load((folder / "datasources/longshore.yaml").read_text())["datasources"]
    assert {source["uid"] for source in sources} == {"prometheus", "jaeger"}
    for source in sources:
        assert source["url"].split("//")[1].split(":")[0] in SERVICES
    provider = yaml.safe_load((folder / "dashboards/longshore.yaml").read_text())["providers"][0]
    mounted = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted
    for board in (ROOT / "deploy/grafana/dashboards").glob("*.json"):
        assert json.loads(board.read_text())["title"]


def test_traces_find_their_way():
    endpoint = SERVICES["state-1"]["environment"]["LONGSHORE_TELEMETRY__OTLP_ENDPOINT"]
    collector = yaml.safe_load((ROOT / "deploy/otel/collector.yaml").read_text())
    host, port = endpoint.split("//")[1].split(":")
    assert host in SERVICES and collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].endswith(f":{port}")
    assert collector["exporters"]["otlp/jaeger"]["endpoint"].split(":")[0] in SERVICES
    for pipeline in collector["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= set(collector[part])


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_dockerfiles_are_well_made(file):
    done = subprocess.run([BIN / "hadolint", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    text = file.read_text()
    final = text[text.rindex("\nFROM "):]
    # By number, or Kubernetes can't tell that it is not root.
    assert re.search(r"^USER 65532:65532$", final, re.M)
    for image in re.findall(r"^ARG (?:TOOLCHAIN|RUNTIME|EXEC_RUNTIME)=(\S+)", text, re.M):
        assert re.search(r":(\d|nonroot)", image), image


def test_the_image_is_built_from_what_is_sent():
    """What the Dockerfile takes is not left out, and what the build reads is in what it takes."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    manifest = (ROOT / "Cargo.toml").read_text()
    members = re.search(r"members = \[(.*?)\]", manifest)[1]
    assert {member.strip(' "').split("/")[0] for member in members.split(",")} <= sent
    included = re.compile(r'include_(?:str|bytes)!\(\s*"((?:\.\./)+)([^"]+)"')
    for source in (ROOT / "crates").glob("*/src/**/*.rs"):
        product = source.read_text().split("#[cfg(test)]")[0]
        if source.stem == "tests" or "tests" in source.parts:
            continue
        for up, rest in included.findall(product):
            target = (source.parent / up / rest).resolve().relative_to(ROOT)
            assert target.parts[0] in sent, f"{source} includes {target}"
    text = DOCKERFILES[0].read_text()
    for copied in re.findall(r"^COPY --from=build /src/(\S+)", text, re.M):
        assert (ROOT / copied).exists() and copied.split("/")[0] in sent


def test_compose_builds_stages_that_exist():
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILES[0].read_text(), re.M))
    assert {service["build"]["target"] for service in ROLES.values()} <= stages
    assert "worker-builder" in stages


def test_what_the_image_does_by_itself_is_a_command():
    for stage, words in re.findall(r"AS (exec-worker|longshore)\n.*?CMD (\[.*?\])", DOCKERFILES[0].read_text(), re.S):
        command = json.loads(words)
        if stage == "exec-worker":
            assert command == ["worker", "--jobs", "/jobs/jobs.toml"]
            settings = {"LONGSHORE_NATS__URL": "nats://127.0.0.1:1"}
            assert start_refused(["worker", "--jobs", str(ROOT / "examples/jobs.toml")], settings) is None
        else:
            assert command == ["help"]
