"""A real Prometheus reads the roles while they work and while what is beneath them fails: every query
of every dashboard, rule and runbook has an answer, and alerts begin."""

import contextlib
import json
import math
import os
import re
import shlex
import shutil
import signal
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException

import pytest
import yaml

from conftest import ROOT
from topology import CEILING, Site, eventually

BOARDS = {file.stem: json.loads(file.read_text()) for file in (ROOT / "deploy/grafana/dashboards").glob("*.json")}
RULES = [rule for file in sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
         for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
RUNBOOKS = {file.stem: file.read_text() for file in sorted((ROOT / "docs/runbooks").glob("*.md"))}
JOBS = """
[jobs.sleep]
command = ["{jobs}/sleep.sh"]
concurrency = 8

[jobs.narrow]
command = ["{jobs}/sleep.sh"]
concurrency = 1

[jobs.fail]
command = ["{jobs}/fail.sh"]
"""
METRICS = (ROOT / "docs/metrics.md").read_text()

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no prometheus"),
]


class Prometheus:
    def __init__(self, address):
        self.address = address

    def is_ready(self):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{self.address}/-/ready", timeout=CEILING).status == 200

    def ask(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.address}/api/v1/{path}?{query}", timeout=CEILING) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{parameters}: {error.read().decode()}")

    def values(self, expr):
        """The numbers that a query has for an answer."""
        found = [float(sample["value"][1]) for sample in self.ask("query", query=expr)["result"]]
        return [value for value in found if not math.isnan(value)]

    def unanswered(self, exprs):
        return [expr for expr in exprs if not self.values(expr)]

    def answers(self, exprs):
        """Waits until each of them has an answer."""
        left = list(exprs)

        def none_left():
            left[:] = self.unanswered(left)
            return not left
        try:
            eventually(none_left)
        except AssertionError:
            pytest.fail("without an answer: " + "\n".join(left))

    def begun(self):
        """The alerts whose conditions hold, by name."""
        return {alert["labels"]["alertname"]: alert for alert in self.ask("alerts")["alerts"]}

    def wait_for(self, *names):
        eventually(lambda: set(names) <= set(self.begun()))


class Load:
    """Clients that do all that clients do, over and over, whatever becomes of it."""

    def __init__(self, site):
        self.site, self.stop = site, threading.Event()
        doings = [self.works, self.fails, self.cancels, self.waits, self.crowds, self.watches, self.looks]
        self.threads = [threading.Thread(target=self.again, args=[doing]) for doing in doings]
        for thread in self.threads:
            thread.start()

    def again(self, doing):
        while not self.stop.wait(0.2):
            # Answers with an error are part of it, and so are none, or half of one.
            with contextlib.suppress(OSError, ValueError, HTTPException):
                doing()

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(CEILING)

    def run(self, job, value, **fields):
        return self.site.call("v1/jobs:run", {"jobType": job, "input": value} | fields)["name"]

    def wait(self, name):
        self.site.call(f"v1/{name}:wait", {"timeout": "5s"})

    def works(self):
        self.wait(self.run("sleep", {"seconds": 0}))

    def fails(self):
        policy = {"maxAttempts": 2, "initialBackoff": "0.1s"}
        self.wait(self.run("fail", {"code": 75}, retryPolicy=policy))

    def cancels(self):
        name = self.run("sleep", {"seconds": 600})
        self.wait_until_running(name)
        self.site.call(f"v1/{name}:cancel", {})
        self.wait(name)

    def wait_until_running(self, name):
        while not self.stop.wait(0.2) and self.site.call(f"v1/{name}")["metadata"]["state"] == "PENDING":
            pass

    def waits(self):
        # Nobody runs this, so the queue is never empty; and it is short until these are gone.
        self.wait(self.run("nobodys", {}, queueTimeout="60s", ttl="1s"))

    def crowds(self):
        # More than there are slots.
        for name in [self.run("narrow", {"seconds": 2}) for _ in range(8)]:
            self.wait(name)

    def watches(self):
        name = self.run("sleep", {"seconds": 2})
        with urllib.request.urlopen(f"{self.site.http}/v1/{name}:watch", timeout=CEILING) as events:
            events.read()

    def looks(self):
        self.site.call("v1/operations?pageSize=10")
        self.site.call("v1/operations/none")


@contextlib.contextmanager
def stopped(site, name):
    """A process that stands still."""
    number = int(site.ids[name])
    os.kill(number, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(number, signal.SIGCONT)


@contextlib.contextmanager
def full(site):
    """Redis without room."""
    host, port = site.urls["redis"].removeprefix("redis://").split(":")

    def limit(size):
        with socket.create_connection((host, int(port))) as redis:
            redis.sendall(f"CONFIG SET maxmemory {size}\r\n".encode())
            assert redis.recv(100) == b"+OK\r\n"
    limit("1mb")
    try:
        yield
    finally:
        limit("0")


@pytest.fixture(scope="module", name="site")
def under_load(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    jobs = folder / "jobs.toml"
    jobs.write_text(JOBS.format(jobs=ROOT / "examples/jobs"))
    # Lost work is noticed while the test lasts, and what still runs in the end does not hold it up.
    site = Site(folder, "--jobs", str(jobs), LONGSHORE_RULES__LEASE="6s", LONGSHORE_WORKER__DRAIN_TIMEOUT="1s")
    load = Load(site)
    try:
        yield site
    finally:
        load.end()
        site.end()


@pytest.fixture(scope="module", name="prometheus")
def that_saw_faults(site):
    """What is looked at later has happened: also what only happens if something is broken."""
    prometheus = Prometheus(site.urls["prometheus"])
    eventually(prometheus.is_ready)
    prometheus.wait_for("LongshoreOperationsFail")
    held = site.submit("sleep", {"seconds": 600})
    site.until_running(held)
    worker = site.call(f"v1/{held}")["metadata"]["worker"]
    with stopped(site, next(name for name in site.ids if worker.startswith(name))):
        with full(site):
            prometheus.wait_for("LongshoreStoreRefuses")
        with stopped(site, "redis"):
            prometheus.wait_for("LongshoreStoreErrors")
        with stopped(site, "nats"):
            prometheus.wait_for("LongshoreBusErrors")
        prometheus.wait_for("LongshoreProcessDown", "LongshoreLeasesExpire")
    assert site.longshore("cancel", held).returncode == 0
    return prometheus


def of_board(board):
    """Its queries, with choices made."""
    chosen = {"$__rate_interval": "1m", "$namespace": ".*", "$job_type": ".*", "$job": "longshore"}
    exprs = [target["expr"] for panel in board["panels"] for target in panel.get("targets", []) if "expr" in target]
    for name, value in chosen.items():
        exprs = [expr.replace(name, value) for expr in exprs]
    assert not [expr for expr in exprs if "$" in expr]
    return exprs


def queries(runbook):
    return re.findall(r"```promql\n(.*?)```", runbook, re.S)


def parts(expr):
    """What an alert's expression looks at, each without what it is compared with."""
    words, depth, begun, found = re.findall(r'"[^"]*"|\w+|\s+|.', expr), 0, 0, []
    for number, word in enumerate(words):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(word, 0)
        if depth == 0 and word in ("and", "or", "unless"):
            found.append("".join(words[begun:number]))
            begun = number + 1
    found.append("".join(words[begun:]))
    found = [re.sub(r"^\s*on \([\w, ]+\)", "", part).strip() for part in found]
    if len(found) == 1:
        return [re.sub(r" (==|>|<) [\d.]+( \* [\d.]+)*$", "", found[0])]
    return [inner for part in found for inner in parts(re.sub(r"(?s)^\((.*)\)$", r"\1", part))]


def test_parts_of_an_expression():
    expr = '(a{b="or c"} > 14.4 * 0.001 and d > 5) or max by (x) (e[5m]) / f == 0 unless on (x, y) g'
    assert parts(expr) == ['a{b="or c"}', "d", "max by (x) (e[5m]) / f", "g"]


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_shows_something(prometheus, name):
    prometheus.answers(of_board(BOARDS[name]))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_finds_what_it_looks_at(prometheus, rule):
    prometheus.answers(parts(rule["expr"]) if "alert" in rule else [rule["expr"], rule["record"]])


def test_prometheus_has_no_trouble_with_the_rules(prometheus):
    loaded = lambda: [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    eventually(lambda: all(rule["health"] != "unknown" for rule in loaded()))
    assert len(loaded()) == len(RULES)
    assert not [rule for rule in loaded() if rule["health"] != "ok"]


def test_what_alerts_say_is_filled_in(prometheus):
    for alert in prometheus.begun().values():
        assert not re.search(r"<no value>|<error|%!|\{\{", json.dumps(alert["annotations"])), alert


def test_choices_have_values(prometheus):
    for variable in {json.dumps(v) for board in BOARDS.values() for v in board["templating"]["list"]}:
        variable = json.loads(variable)
        if variable["type"] == "query" and variable["name"] != "namespace":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
            selector = selector.replace("$namespace", ".*").replace("$job", "longshore")
            values = lambda: prometheus.ask(f"label/{label}/values", **{"match[]": selector})
            assert eventually(values)


@pytest.mark.parametrize("name", RUNBOOKS)
def test_what_runbooks_ask_can_be_asked(prometheus, site, name):
    prometheus.answers(re.sub(r" (==|>) 0\s*$", "", query) for query in queries(RUNBOOKS[name]))
    for command in re.findall(r"^longshore (list .*)", RUNBOOKS[name], re.M):
        done = site.longshore(*shlex.split(command))
        assert done.returncode == 0, done.stderr


def test_all_metrics_and_labels_are_documented():
    documented = {name.replace(".", "_") for name in re.findall(r"`([a-z_.]+)`", METRICS)}
    documented |= {rule["record"] for rule in RULES if "record" in rule}
    documented |= {name + part for name in documented for part in ("_bucket", "_count", "_sum")}
    texts = [expr for board in BOARDS.values() for expr in of_board(board)] + [rule["expr"] for rule in RULES]
    texts += [query for text in RUNBOOKS.values() for query in queries(text)]
    named = {name for text in texts for name in re.findall(
        r"\b(?:longshore|rpc|db|messaging|process|target|error)[_:][\w:]+", re.sub(r'"[^"]*"', "", text))}
    assert named and named <= documented, named - documented
