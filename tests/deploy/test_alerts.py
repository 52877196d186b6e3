"""Every alert fires in a case made for it, and none where all is well; each has its runbook."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from alert_cases import CASES, END, HEALTHY
from conftest import ROOT

RULES = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
ALERTS = {rule["alert"]: rule for file in RULES for group in yaml.safe_load(file.read_text())["groups"]
          for rule in group["rules"] if "alert" in rule}
RUNBOOKS = ROOT / "docs/runbooks"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool")


def promtool(*arguments):
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def firing(name, labels):
    everywhere = {"alertname": name, "alertstate": "firing", "severity": ALERTS[name]["labels"]["severity"],
                  "namespace": "n", "job": "longshore"}
    listed = ", ".join(f"{label}={json.dumps(value)}" for label, value in (everywhere | labels).items())
    return {"labels": f"ALERTS{{{listed}}}", "value": 1}


def check(folder, differs, minutes, alerts):
    """What fires after so many minutes is this and nothing else."""
    seen = [{"series": name, "values": values} for name, values in (HEALTHY | differs).items()]
    asked = [{"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{minute}m",
              "exp_samples": [firing(name, labels) for name, labels in alerts.items()]} for minute in minutes]
    case = {"rule_files": [str(file) for file in RULES], "evaluation_interval": "1m",
            "tests": [{"interval": "1m", "input_series": seen, "promql_expr_test": asked}]}
    file = folder / "case.yml"
    file.write_text(yaml.safe_dump(case))
    promtool("test", "rules", str(file))


@needs_promtool
def test_rules_and_settings_are_what_prometheus_reads():
    promtool("check", "rules", *map(str, RULES))
    promtool("check", "config", str(ROOT / "deploy/prometheus/prometheus.yml"))


@needs_promtool
def test_nothing_fires_where_all_is_well(tmp_path):
    check(tmp_path, {}, [1, 15, 45, 60, END], {})


@needs_promtool
@pytest.mark.parametrize("name", ALERTS)
def test_it_fires_in_its_case(name, tmp_path):
    differs, labels, others = CASES[name]
    check(tmp_path, differs, [END - 1], {name: labels} | others)


def test_what_alerts_tell():
    assert set(CASES) == set(ALERTS)
    for name, rule in ALERTS.items():
        assert re.fullmatch(r"(Longshore)([A-Z][a-z]+)+", name)
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        told = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert told <= set(CASES[name][1]) | {"job"}, f"{name} tells of labels that it does not have"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    found = {f"docs/runbooks/{file.name}": file.read_text() for file in RUNBOOKS.glob("*.md")}
    assert {rule["annotations"]["runbook_url"] for rule in ALERTS.values()} == set(found)
    page = (ROOT / "docs/monitoring.md").read_text()
    for name, rule in ALERTS.items():
        url = rule["annotations"]["runbook_url"]
        assert re.search(rf"^# .*\b{name}\b", found[url], re.M), f"{url} is not about {name}"
        assert f"[{name}]({url.removeprefix('docs/')})" in page, f"docs/monitoring.md does not tell of {name}"
    for url, text in found.items():
        headings = re.findall(r"^## (.*)", text, re.M)
        assert headings == ["What it means", "What users notice", "How to look", "How to mend", "How to prevent"], url


def test_dashboards_are_as_they_are_written():
    folder = ROOT / "deploy/grafana"
    code = f"import json, runpy; print(json.dumps(runpy.run_path({str(folder / 'boards.py')!r})['boards']()))"
    made = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True)
    files = {file.name: file.read_text() for file in (folder / "dashboards").glob("*.json")}
    assert files == json.loads(made.stdout), "run `python3 deploy/grafana/boards.py`"
