"""The chart: every combination of values that matters, rendered by Helm's own code, checked against
the schemas of Kubernetes, and looked at for what has to hold in each."""

import copy
import re
import shutil
import subprocess
import tomllib

import helm_python
import kubernetes_validate
import pytest
import yaml

from cases import CASES, REFUSED, SERVERS
from conftest import CHART, ROOT, start_refused

# The oldest that the chart says it takes, one in between, and the newest there is a schema for.
VERSIONS = ["1.27.0", "1.32.0", "1.37.0"]
FOREIGN = {"ScaledObject", "ServiceMonitor", "PodMonitor", "PrometheusRule", "HTTPRoute", "GRPCRoute", "Certificate"}
COMMON_KEYS = {"app.kubernetes.io/name", "app.kubernetes.io/instance"}

chart = helm_python.Chart.load(str(CHART))


def render(values, name="rel"):
    chart.validate_schema(values)
    files = chart.render(values, name=name, namespace="ns")
    notes = files.pop("longshore/templates/NOTES.txt")
    assert name in notes
    objects = [found for text in files.values() for found in yaml.safe_load_all(text) if found]
    assert objects
    return objects


rendered = {}


def word_ids(cases):
    """As names of tests, which have no spaces."""
    return [re.sub(r"\W+", "-", case) for case in cases]


@pytest.fixture(params=CASES, ids=word_ids(CASES), name="objects")
def of_each_case(request):
    if request.param not in rendered:
        rendered[request.param] = render(CASES[request.param])
    return copy.deepcopy(rendered[request.param])


def kind(objects, *kinds):
    return [found for found in objects if found["kind"] in kinds]


def named(objects, kind_, name):
    return next(found for found in kind(objects, kind_) if found["metadata"]["name"] == name)


def workloads(objects):
    return kind(objects, "Deployment", "StatefulSet")


def pods(objects):
    """Name, labels and specification of every pod."""
    for found in workloads(objects):
        template = found["spec"]["template"]
        yield found["metadata"]["name"], template["metadata"]["labels"], template["spec"]
    for found in kind(objects, "Pod"):
        yield found["metadata"]["name"], found["metadata"]["labels"], found["spec"]


def roles(objects):
    """The containers of this project's roles."""
    for found in kind(objects, "Deployment"):
        yield found, found["spec"]["template"]["spec"]["containers"][0]


def variables(container):
    return {one["name"]: one.get("value", "from a secret") for one in container["env"]}


def selects(selector, labels):
    one_of = {"In": lambda term: labels.get(term["key"]) in term["values"]}
    return (all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
            and all(one_of[term["operator"]](term) for term in selector.get("matchExpressions", [])))


def test_lint():
    for values in (SERVERS, CASES["quickstart"]):
        report = helm_python.lint(str(CHART), values, strict=True)
        found = [message for message in report["messages"] if "icon is recommended" not in message["error"]]
        assert not found and not report["errors"]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_all_of_it(objects, version):
    for found in objects:
        if found["kind"] not in FOREIGN:
            kubernetes_validate.validate(found, version, strict=True)


def test_a_wrong_object_would_be_found():
    wrong = kind(render(SERVERS), "Deployment")[0]
    wrong["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("values, word", REFUSED.values(), ids=word_ids(REFUSED))
def test_wrong_values_are_refused(values, word):
    with pytest.raises(helm_python.HelmError) as refusal:
        render(values)
    assert word in str(refusal.value)


def test_the_schema_and_the_values_have_the_same_keys():
    schema = chart.schema if isinstance(chart.schema, dict) else yaml.safe_load(chart.schema)

    def compare(schema_, values, path):
        if "$ref" in schema_:
            schema_ = schema["definitions"][schema_["$ref"].rsplit("/")[-1]]
        known = schema_.get("properties")
        if known is None or not isinstance(values, dict):
            return
        assert schema_["additionalProperties"] is False, path
        # What has a default is known by the template above, and the rest is optional on purpose.
        optional = {"global", "claims"}
        assert set(known) - optional == set(values), path
        for key in values:
            compare(known[key], values[key], [*path, key])

    compare(schema, yaml.safe_load((CHART / "values.yaml").read_text()), [])


def test_names_are_unique_and_in_the_namespace(objects):
    seen = [(found["kind"], found["metadata"]["name"]) for found in objects]
    assert len(seen) == len(set(seen))
    for found in objects:
        if "labels" in found["metadata"]:
            assert found["metadata"]["namespace"] == "ns"


def test_pods_keep_to_the_restricted_profile(objects):
    for name, _, pod in pods(objects):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        own = [c for c in pod["containers"] if c["name"] != "side"]
        for container in own:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"] and container["resources"]["requests"], name
        for volume in pod.get("volumes", []):
            assert set(volume) - {"name"} <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}, name


def test_no_pod_has_a_token(objects):
    accounts = {account["metadata"]["name"] for account in kind(objects, "ServiceAccount")}
    for account in kind(objects, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for name, _, pod in pods(objects):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert pod.get("serviceAccountName", "mine") in accounts | {"mine"}, name


def test_mounts_and_volumes_belong_together(objects):
    maps = {found["metadata"]["name"] for found in kind(objects, "ConfigMap")}
    foreign = {"types"}
    for name, _, pod in pods(objects):
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        claims = {"data"} if name.endswith(("-redis", "-nats")) else set()
        for container in pod["containers"]:
            for mount in container.get("volumeMounts", []):
                assert mount["name"] in set(volumes) | claims, name
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps | foreign, name


def test_probes_ask_the_right_one(objects):
    for found, container in roles(objects):
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        if "livenessProbe" not in container:
            assert found["metadata"]["labels"]["longshore/pool"] == "own"
            continue
        # Liveness is about the process alone.
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "admin"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
        # The role takes 2 s to find out that a store does not answer.
        assert container["readinessProbe"]["timeoutSeconds"] > 2
        listens = variables(container)
        assert listens["LONGSHORE_ADMIN__LISTEN"] == f"0.0.0.0:{ports['admin']}"
        if "api" in ports:
            assert listens["LONGSHORE_GATEWAY__LISTEN"] == f"0.0.0.0:{ports['api']}"


def test_pods_get_the_time_that_their_role_takes_to_end(objects):
    seconds = lambda text: int(re.fullmatch(r"(\d+)s", text)[1])
    for found, container in roles(objects):
        grace = found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        settings = variables(container)
        component = found["metadata"]["labels"]["app.kubernetes.io/component"]
        if component == "gateway":
            # Its last words take 5 s, and the last spans 4.
            drain = seconds(settings["LONGSHORE_GATEWAY__SHUTDOWN_DELAY"])
            assert drain >= 5, "endpoints take a while to be forgotten"
            drain += seconds(settings["LONGSHORE_GATEWAY__SHUTDOWN_GRACE"]) + 9
        elif component == "worker":
            # Then it hands back what is left, which takes up to 5 s.
            drain = seconds(settings["LONGSHORE_WORKER__DRAIN_TIMEOUT"]) + 9
        else:
            drain = 9
        assert grace > drain


def test_selectors_select_what_they_mean(objects):
    found_pods = list(pods(objects))
    of_workload = {found["metadata"]["name"]: found for found in workloads(objects)}
    for found in workloads(objects):
        selector = found["spec"]["selector"]
        assert [name for name, labels, _ in found_pods if selects(selector, labels)] == [found["metadata"]["name"]]
        # What changes with an upgrade must not be in it: it can't be changed.
        assert set(selector["matchLabels"]) <= COMMON_KEYS | {"app.kubernetes.io/component", "longshore/pool"}
        for constraint in found["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            if constraint["topologyKey"] != "rack":
                assert constraint["labelSelector"] == selector
                assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
    for service in kind(objects, "Service"):
        chosen = [pod for _, labels, pod in found_pods
                  if selects({"matchLabels": service["spec"]["selector"]}, labels)]
        assert chosen, service["metadata"]["name"]
        for port in service["spec"]["ports"]:
            for pod in chosen:
                names = [p["name"] for c in pod["containers"] for p in c.get("ports", [])]
                assert port["targetPort"] in names
    for policy in kind(objects, "NetworkPolicy"):
        assert any(selects(policy["spec"]["podSelector"], labels) for _, labels, _ in found_pods)
    for budget in kind(objects, "PodDisruptionBudget"):
        assert budget["spec"]["selector"] == of_workload[budget["metadata"]["name"]]["spec"]["selector"]


def test_budgets_never_hold_up_a_node(objects):
    for budget in kind(objects, "PodDisruptionBudget"):
        assert "minAvailable" not in budget["spec"]
        assert str(budget["spec"]["maxUnavailable"]) not in ("0", "0%")
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_one_decides_how_many_pods_there_are(objects):
    scaled = {found["spec"]["scaleTargetRef"]["name"]
              for found in kind(objects, "HorizontalPodAutoscaler", "ScaledObject")}
    for found in kind(objects, "Deployment"):
        name = found["metadata"]["name"]
        assert ("replicas" in found["spec"]) != (name in scaled), name


def test_workers_know_no_way_to_redis(objects):
    for found, container in roles(objects):
        component = found["metadata"]["labels"]["app.kubernetes.io/component"]
        assert ("LONGSHORE_REDIS__URL" in variables(container)) == (component != "worker")
        assert "LONGSHORE_NATS__URL" in variables(container)
    for policy in kind(objects, "NetworkPolicy"):
        if policy["metadata"]["labels"]["app.kubernetes.io/component"] == "worker":
            ports = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
            assert 6379 not in ports and 4222 in ports


def test_secrets_are_referred_to_and_never_shown():
    objects = render(CASES["servers behind secrets"])
    for _, container in roles(objects):
        urls = {one["name"]: one for one in container["env"] if one["name"].endswith("__URL")}
        for name, one in urls.items():
            expected = {"LONGSHORE_REDIS__URL": ("redis-url", "url"), "LONGSHORE_NATS__URL": ("nats-url", "nats")}[name]
            reference = one["valueFrom"]["secretKeyRef"]
            assert (reference["name"], reference["key"]) == expected and "value" not in one
        assert variables(container)["LONGSHORE_NATS__CREDENTIALS"] == "/etc/longshore/nats/user.creds"
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["nats-credentials"] == "/etc/longshore/nats"


def test_images():
    def images(values):
        return {found["metadata"]["name"]: container["image"] for found, container in roles(render(values))}

    version = chart.metadata["appVersion"]
    own = images(CASES["pools of many kinds"])
    assert own["rel-longshore-gateway"] == f"longshore:{version}"
    assert own["rel-longshore-worker-image"] == "registry.example.com/jobs@sha256:" + "0" * 64
    assert own["rel-longshore-worker-own"] == "primes:1"
    assert images(CASES["all that can be added"])["ls-gateway"] == "registry.example.com/x/longshore:1.2.3"
    # A digest is of one repository.
    pinned = images(SERVERS | {"image": {"digest": "sha256:" + "1" * 64}, "workers": {
        "a": {"image": {"repository": "jobs"}, "jobsFile": "/j"}, "b": {"jobsFile": "/j"}}})
    assert pinned["rel-longshore-worker-a"] == f"jobs:{version}"
    assert pinned["rel-longshore-worker-b"] == "longshore@sha256:" + "1" * 64


def test_upgrades_keep_data_and_change_nothing_that_cannot_change(tmp_path):
    before, after = [], []
    for objects, version in ((before, "0.1.0"), (after, "9.9.9")):
        folder = CHART
        if version != "0.1.0":
            folder = tmp_path / "newer"
            shutil.copytree(CHART, folder)
            text = (CHART / "Chart.yaml").read_text()
            (folder / "Chart.yaml").write_text(
                re.sub(r"(?m)^(version|appVersion): .*", rf"\1: {version}", text))
        other = helm_python.Chart.load(str(folder))
        for text in other.render(CASES["quickstart"], name="rel", namespace="ns").values():
            if "kind:" in text:
                objects.extend(found for found in yaml.safe_load_all(text) if found)
    sets = kind(before, "StatefulSet")
    assert len(sets) == 2
    for old in sets:
        new = named(after, "StatefulSet", old["metadata"]["name"])
        assert new["metadata"]["labels"] != old["metadata"]["labels"]
        for key in ("selector", "serviceName", "volumeClaimTemplates"):
            assert new["spec"][key] == old["spec"][key]
        assert old["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
        mounts = old["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        assert {"name": "data", "mountPath": "/data"} in mounts
    for old in kind(before, "Deployment"):
        assert named(after, "Deployment", old["metadata"]["name"])["spec"]["selector"] == old["spec"]["selector"]


def test_quickstart_keeps_what_was_accepted():
    objects = render(CASES["quickstart"])
    redis = named(objects, "StatefulSet", "rel-longshore-redis")["spec"]["template"]["spec"]["containers"][0]
    flags = dict(zip(redis["args"][::2], redis["args"][1::2], strict=True))
    assert flags["--appendonly"] == "yes" and flags["--maxmemory-policy"] == "noeviction" and flags["--dir"] == "/data"
    urls = variables(named(objects, "Deployment", "rel-longshore-gateway")["spec"]["template"]["spec"]["containers"][0])
    services = {service["metadata"]["name"]: [port["port"] for port in service["spec"]["ports"]]
                for service in kind(objects, "Service")}
    for name in ("REDIS", "NATS"):
        host, port = urls[f"LONGSHORE_{name}__URL"].split("//")[1].split(":")
        assert int(port) in services[host]


def test_quickstart_runs_nats_as_compose_does(tmp_path):
    text = named(render(CASES["quickstart"]), "ConfigMap", "rel-longshore-nats")["data"]["nats.conf"]
    plain = lambda text: [line for line in text.splitlines()
                          if line and not line.startswith("#") and "max_file_store" not in line]
    assert plain(text) == plain((ROOT / "deploy/nats/nats.conf").read_text())
    server = shutil.which("nats-server")
    if server is None:
        pytest.skip("there is no nats-server")
    (tmp_path / "nats.conf").write_text(text)
    subprocess.run([server, "-t", "-c", tmp_path / "nats.conf"], check=True, capture_output=True)


def test_keda_counts_the_queues_that_workers_take_from():
    objects = render(CASES["scaled by queues, to zero"])
    scaled = kind(objects, "ScaledObject")[0]
    assert scaled["spec"]["minReplicaCount"] == 0
    queues = [trigger["metadata"] for trigger in scaled["spec"]["triggers"] if trigger["type"] == "nats-jetstream"]
    assert {queue["consumer"] for queue in queues} == {
        f"{job}-{priority}" for job in ("report", "export") for priority in ("high", "normal", "low")}
    # The names of streams and consumers are those of the code.
    subjects = (ROOT / "crates/bus/src/subjects.rs").read_text()
    assert f'JOBS_STREAM: &str = "{queues[0]["stream"]}"' in subjects
    assert set(re.findall(r'=> "(high|normal|low)"', subjects)) == {"high", "normal", "low"}
    for queue in queues:
        # KEDA reads numbers out of strings.
        assert all(isinstance(value, str) for value in queue.values())
        assert queue["natsServerMonitoringEndpoint"] == "nats.data:8222" and queue["account"] == "$G"


def test_routes_lead_to_the_gateway():
    objects = render(CASES["ways in"])
    service = named(objects, "Service", "rel-longshore-gateway")
    ports = {port["name"]: port for port in service["spec"]["ports"]}
    assert ports["grpc"]["appProtocol"] == "kubernetes.io/h2c" and ports["grpc"]["targetPort"] == "api"
    for ingress in kind(objects, "Ingress"):
        backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert backend["name"] == service["metadata"]["name"]
        assert backend["port"]["name"] == ingress["metadata"]["name"].rsplit("-")[-1]
    for route, port in ((kind(objects, "HTTPRoute")[0], "http"), (kind(objects, "GRPCRoute")[0], "grpc")):
        backend = route["spec"]["rules"][0]["backendRefs"][0]
        assert backend == {"name": service["metadata"]["name"], "port": ports[port]["port"]}
    served = {match["method"]["service"] for match in kind(objects, "GRPCRoute")[0]["spec"]["rules"][0]["matches"]}
    assert served == {"google.longrunning.Operations", "longshore.v1.Jobs", "grpc.health.v1.Health",
                      "grpc.reflection.v1.ServerReflection"}


WATCHED = ["watched by services", "watched by pods"]
RUN = ["quickstart", "pools of many kinds", "watched by pods", "scaled by queues, to zero"]


@pytest.mark.parametrize("case", WATCHED, ids=word_ids(WATCHED))
def test_prometheus_finds_every_role(case):
    objects = render(CASES[case])
    monitor = kind(objects, "ServiceMonitor", "PodMonitor")[0]
    selector = monitor["spec"]["selector"]
    if monitor["kind"] == "ServiceMonitor":
        service = next(s for s in kind(objects, "Service") if selects(selector, s["metadata"]["labels"]))
        assert [s for s in kind(objects, "Service") if selects(selector, s["metadata"]["labels"])] == [service]
        selector = {"matchLabels": service["spec"]["selector"]}
    endpoint = (monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"])[0]
    chosen = {name for name, labels, _ in pods(objects) if selects(selector, labels)}
    assert chosen == {found["metadata"]["name"] for found, _ in roles(objects)}
    assert endpoint["port"] == "admin" and endpoint["path"] == "/metrics"


def test_rules_and_dashboards_are_those_of_the_repository():
    objects = render(CASES["watched by services"])
    rules = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
    boards = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
    again = "run `cargo xtask chart --copy`"
    for folder, sources in (("rules", rules), ("dashboards", boards)):
        copies = sorted((CHART / "files" / folder).glob("*.*"))
        assert {file.name: file.read_text() for file in copies} == {f.name: f.read_text() for f in sources}, again
    assert [rule["spec"] for rule in kind(objects, "PrometheusRule")] == [yaml.safe_load(f.read_text()) for f in rules]
    shown = {name: text for found in kind(objects, "ConfigMap") for name, text in found["data"].items()
             if "grafana_dashboard" in found["metadata"]["labels"]}
    assert {name: text.strip() for name, text in shown.items()} == {f.name: f.read_text().strip() for f in boards}


def test_alerts_lead_to_runbooks():
    case = CASES["watched by services"]
    for base in ("", "https://example.com/"):
        monitoring = {"prometheusRule": {"enabled": True, "runbookURL": base}}
        groups = [group for found in kind(render(case | {"monitoring": monitoring}), "PrometheusRule")
                  for group in found["spec"]["groups"]]
        urls = {rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule}
        assert urls == {f"{base}docs/runbooks/{file.name}" for file in (ROOT / "docs/runbooks").glob("*.md")}


def settings_of(objects, found, container, folder):
    """The variables of a container with its files in place, as the binary gets them."""
    settings = {name: value for name, value in variables(container).items()}
    config = next(m for m in kind(objects, "ConfigMap") if m["metadata"]["name"].endswith("-config"))
    (folder / "longshore.toml").write_text(config["data"]["longshore.toml"])
    assert settings["LONGSHORE_CONFIG"] == "/etc/longshore/config/longshore.toml"
    settings["LONGSHORE_CONFIG"] = str(folder / "longshore.toml")
    jobs = settings.get("LONGSHORE_EXEC__JOBS")
    if jobs == "/etc/longshore/jobs/jobs.toml":
        for name, text in named(objects, "ConfigMap", found["metadata"]["name"])["data"].items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o555)
        settings["LONGSHORE_EXEC__JOBS"] = str(folder / "jobs.toml")
    elif jobs == "/jobs/jobs.toml":
        settings["LONGSHORE_EXEC__JOBS"] = str(ROOT / "examples/jobs.toml")
    settings.pop("LONGSHORE_NATS__CREDENTIALS", None)
    return settings


@pytest.mark.parametrize("case", RUN, ids=word_ids(RUN))
def test_the_binary_understands_flags_variables_and_files(case, tmp_path):
    objects = render(CASES[case])
    for number, (found, container) in enumerate(roles(objects)):
        if found["metadata"]["labels"].get("longshore/pool") == "own":
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        refusal = start_refused(container["args"], settings_of(objects, found, container, folder))
        assert refusal is None, refusal


def test_the_binary_would_refuse_what_it_does_not_know(tmp_path):
    objects = render(SERVERS)
    found, container = next(roles(objects))
    settings = settings_of(objects, found, container, tmp_path)
    assert "unknown field" in start_refused(container["args"], settings | {"LONGSHORE_NATS__URLS": "x"})
    assert "unexpected argument" in start_refused([*container["args"], "--lisen", "x"], settings)
    (tmp_path / "longshore.toml").write_text("[gatway]\n")
    assert "gatway" in start_refused(container["args"], settings)


def test_what_the_document_shows_is_what_the_chart_takes(tmp_path):
    text = (ROOT / "docs/deploy.md").read_text()
    values = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.S)]
    assert values
    for shown in values:
        objects = render(shown)
        for found, container in roles(objects):
            if container["image"].startswith("registry.example.com/"):
                folder = tmp_path / found["metadata"]["name"]
                folder.mkdir()
                assert start_refused(container["args"], settings_of(objects, found, container, folder)) is None
    # A line that ends with a backslash goes on.
    commands = (text + (CHART / "README.md").read_text() + (ROOT / "README.md").read_text()).replace("\\\n", " ")
    given = [re.findall(r"--set (\S+)", line) for line in re.findall(r"helm install longshore helm/longshore (.*)", commands)]
    assert any(given)
    for sets in filter(None, given):
        values = {}
        for one in sets:
            values = merged(values, one)
        render(values)


def merged(values, assignment):
    """`helm --set`, for what documents do with it."""
    path, value = assignment.split("=", 1)
    *outer, last = path.split(".")
    place = values
    for key in outer:
        place = place.setdefault(key, {})
    place[last] = yaml.safe_load(value)
    return values


def test_the_config_is_what_was_given():
    config = named(render(CASES["pools of many kinds"]), "ConfigMap", "rel-longshore-config")
    assert tomllib.loads(config["data"]["longshore.toml"])["rules"]["lease"] == "20s"
