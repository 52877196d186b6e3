#!/usr/bin/env python3
"""The dashboards: `python3 deploy/grafana/boards.py` writes dashboards/*.json.

SITE in a query stands for the labels of the installations that are chosen, TYPE for those of the job
types besides. A panel is as wide as its row leaves room for.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).parent / "dashboards"
SITE = 'namespace=~"$namespace", job=~"$job"'
TYPE = SITE + ', longshore_job_type=~"$job_type"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
TRACES = {"type": "jaeger", "uid": "${traces}"}

# Calls that clients make, without health checks and reflection; and of those the ones that don't wait.
CALLS = 'SITE, rpc_method!~"grpc[.].*"'
QUICK = 'SITE, rpc_method!~"grpc[.].*|.*/(Wait|Watch)Operation"'
GREEN, ORANGE, RED = "green", "orange", "red"


def rate(metric, labels, by=""):
    """How often a second, summed over all but these labels."""
    each = f"rate({metric}{{{labels}}}[$__rate_interval])"
    return f"sum by ({by}) ({each})" if by else f"sum({each})"


def quantile(part, metric, labels, by=""):
    """What this part of all is no longer than."""
    return f"histogram_quantile({part}, {rate(metric + '_bucket', labels, ', '.join(filter(None, ['le', by])))})"


def quantiles(metric, labels):
    return {f"p{round(part * 100)}": quantile(part, metric, labels) for part in (0.5, 0.95, 0.99)}


def steps(base, *others):
    """Colours from so much on."""
    return {"mode": "absolute", "steps": [{"color": base, "value": None},
                                          *({"color": color, "value": value} for value, color in others)]}


def panel(kind, title, about, unit, queries, thresholds=None, **options):
    """Queries by their legends. `bounds` shows the thresholds as lines, `stack` sums what is shown."""
    defaults = {"unit": unit, "thresholds": thresholds or steps(GREEN)}
    defaults |= {limit: value for limit, value in ({"min": 0} | options).items() if limit in ("min", "max")}
    if kind == "timeseries":
        stack = {"mode": "normal" if options.get("stack") else "none", "group": "A"}
        defaults["custom"] = {"fillOpacity": 20 if options.get("stack") else 5, "lineWidth": 1, "showPoints": "never",
                              "stacking": stack, "thresholdsStyle": {"mode": "line" if thresholds else "off"}}
        shape = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                 "tooltip": {"mode": "multi", "sort": "desc"}}
    else:
        shape = {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}}
    targets = [{"refId": chr(ord("A") + number), "datasource": SOURCE, "legendFormat": legend, "range": True,
                "expr": expr.replace("TYPE", TYPE).replace("SITE", SITE)}
               for number, (legend, expr) in enumerate(queries.items())]
    return {"type": kind, "title": title, "description": about, "datasource": SOURCE, "targets": targets,
            "fieldConfig": {"defaults": defaults, "overrides": []}, "options": shape}


def lines(*arguments, **options):
    return panel("timeseries", *arguments, **options)


def stat(*arguments, **options):
    return panel("stat", *arguments, **options)


def traces(kind, title, about, query):
    return {"type": kind, "title": title, "description": about, "datasource": TRACES,
            "targets": [{"refId": "A", "datasource": TRACES} | query],
            "fieldConfig": {"defaults": {}, "overrides": []}, "options": {}}


def variable(name, label, query, **others):
    return {"type": "query", "name": name, "label": label, "datasource": SOURCE, "refresh": 2, "sort": 1,
            "query": {"query": query.replace("SITE", SITE), "refId": name}, "multi": True, "includeAll": True,
            "current": {"text": ["All"], "value": ["$__all"]}} | others


def source(name, label, kind):
    return {"type": "datasource", "name": name, "label": label, "query": kind, "refresh": 1}


def text(name, label):
    return {"type": "textbox", "name": name, "label": label, "query": "", "current": {"text": "", "value": ""}}


VARIABLES = [
    source("datasource", "Prometheus", "prometheus"),
    # Not every Prometheus has namespaces.
    variable("namespace", "Namespace", "label_values(longshore_runtime_tasks, namespace)", allValue=".*"),
    variable("job", "Installation", 'label_values(longshore_runtime_tasks{namespace=~"$namespace"}, job)'),
    variable("job_type", "Job type", "label_values(longshore_operations_submitted_total{SITE}, longshore_job_type)",
             allValue=".*"),
]


def board(uid, title, about, rows, variables=()):
    """A dashboard of rows of panels, each a title and its panels; stats are in rows that are half as high."""
    panels, y = [], 0
    for heading, members in rows:
        panels.append({"type": "row", "title": heading, "collapsed": False, "panels": [],
                       "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
        y += 1
        height = 4 if all(member["type"] == "stat" for member in members) else 8
        width = 24 // len(members)
        for number, member in enumerate(members):
            panels.append(member | {"gridPos": {"h": height, "w": width, "x": number * width, "y": y}})
        y += height
    return {
        "uid": f"longshore-{uid}", "title": f"Longshore / {title}", "description": about, "tags": ["longshore"],
        "schemaVersion": 41, "version": 1, "editable": True, "graphTooltip": 1, "timezone": "browser",
        "refresh": "30s", "time": {"from": "now-1h", "to": "now"}, "annotations": {"list": []},
        "links": [{"type": "dashboards", "title": "Longshore", "tags": ["longshore"], "asDropdown": False,
                   "includeVars": True, "keepTime": True}],
        "templating": {"list": [*VARIABLES, *variables]},
        "panels": [{"id": number} | member for number, member in enumerate(panels, 1)],
    }


def overview():
    calls, errors = "longshore:calls:rate5m{SITE}", "longshore:call_errors:rate5m{SITE}"
    ratio = lambda window: f"sum(avg_over_time({errors}[{window}])) / sum(avg_over_time({calls}[{window}]))"
    oldest = "max(longshore_queue_oldest_age_seconds{TYPE})"
    return board("overview", "Overview", "Whether Longshore keeps what it promises, and what it does.", [
        ("Now", [
            stat("Availability", "Part of the calls of the last hour that did not fail by Longshore's own fault. The "
                 "objective is 99.9 %.", "percentunit", {"": f"1 - {ratio('1h')}"},
                 steps(RED, (0.99, ORANGE), (0.999, GREEN)), max=1),
            stat("Error budget left", "What is left of the 0.1 % of calls that may fail in 30 days.", "percentunit",
                 {"": f"1 - ({ratio('30d')}) / 0.001"}, steps(RED, (0, ORANGE), (0.25, GREEN)), min=-1, max=1),
            stat("Alerts", "Alerts of Longshore that fire. Each has a runbook.", "short",
                 {"": 'count(ALERTS{SITE, alertname=~"Longshore.*", alertstate="firing"}) or vector(0)'},
                 steps(GREEN, (1, RED))),
            stat("Running", "Attempts that workers run.", "short", {"": "sum(longshore_worker_slots_used{TYPE})"}),
            stat("Waiting", "Operations that wait for a worker.", "short",
                 {"": "sum(max by (namespace, job, longshore_job_type) (longshore_queue_depth{TYPE}))"}),
            stat("Longest wait", "How long the oldest of them has waited.", "s", {"": oldest},
                 steps(GREEN, (300, ORANGE), (900, RED))),
        ]),
        ("Calls", [
            lines("Calls by code", "Answers by their code. Only DATA_LOSS, INTERNAL, RESOURCE_EXHAUSTED, UNAVAILABLE and "
                  "UNKNOWN count as failures.", "reqps", {"{{rpc_response_status_code}}": rate(
                      "rpc_server_call_duration_seconds_count", CALLS, "rpc_response_status_code")}, stack=True),
            lines("Slowest in a hundred", "The 99th percentile of the methods that don't wait.", "s",
                  {"{{rpc_method}}": quantile(0.99, "rpc_server_call_duration_seconds", QUICK, "rpc_method")},
                  steps("transparent", (1, RED))),
            lines("Error budget, pace", "How many times as fast as the objective allows calls fail. 14.4 for an hour is an "
                  "alert, and so is 6 for six hours.", "short",
                  {f"{window}": f"max(longshore:call_errors:ratio{window}{{SITE}}) / 0.001" for window in ("1h", "6h", "3d")},
                  steps("transparent", (1, ORANGE), (14.4, RED))),
        ]),
        ("Operations", [
            lines("Accepted and ended", "Operations that were accepted, and those that ended, by outcome.", "ops",
                  {"accepted": rate("longshore_operations_submitted_total", "TYPE"),
                   "{{longshore_outcome}}": rate("longshore_operations_finished_total", "TYPE", "longshore_outcome")}),
            lines("From acceptance to the end", "With the wait, all attempts and the pauses between them.", "s",
                  quantiles("longshore_operation_end_to_end_seconds", "TYPE")),
            lines("From ready to started", "What a worker that is free, or more of them, would shorten.", "s",
                  quantiles("longshore_operation_schedule_to_start_seconds", "TYPE")),
        ]),
        ("Who is there", [
            lines("Processes", "Processes that answer Prometheus.", "short",
                  {"{{role}}": 'sum by (role) (up{SITE, role=~"gateway|state|worker"})'}),
            lines("Waits and watches", "WaitOperation calls that wait, and WatchOperation streams that are open.", "short",
                  {"waits": "sum(longshore_waiters{SITE})", "watches": "sum(longshore_watchers{SITE})"}, stack=True),
            lines("Records", "Operations in the store, ended or not.", "short",
                  {"records": "sum(max by (namespace, job) (longshore_records{SITE}))"}),
        ]),
    ])


def operations():
    by_type = lambda metric: {"{{longshore_job_type}}": rate(metric, "TYPE", "longshore_job_type")}
    return board("operations", "Operations", "The life of an operation, from its acceptance to its end.", [
        ("Begin and end", [
            lines("Accepted", "Operations that were accepted, by job type.", "ops",
                  by_type("longshore_operations_submitted_total"), stack=True),
            lines("Ended", "By outcome: OK, or the code of the error.", "ops", {"{{longshore_outcome}}": rate(
                "longshore_operations_finished_total", "TYPE", "longshore_outcome")}, stack=True),
            lines("Part that failed", "Of those that ended, without what was cancelled.", "percentunit", {
                "{{longshore_job_type}}": "1 - " + rate("longshore_operations_finished_total",
                    'TYPE, longshore_outcome=~"OK|CANCELLED"', "longshore_job_type")
                + " / " + rate("longshore_operations_finished_total", "TYPE", "longshore_job_type")},
                steps("transparent", (0.2, RED)), max=1),
        ]),
        ("How long it takes", [
            lines("From ready to started", "From when an attempt could start to when a worker had claimed it.", "s",
                  quantiles("longshore_operation_schedule_to_start_seconds", "TYPE")),
            lines("Run", "One attempt.", "s", quantiles("longshore_operation_run_seconds", "TYPE")),
            lines("From acceptance to the end", "With all attempts and the pauses between them.", "s",
                  quantiles("longshore_operation_end_to_end_seconds", "TYPE")),
            lines("From cancellation to the end", "Of what ran when it was cancelled. `rules.cancel_grace` (30 s) bounds it.",
                  "s", quantiles("longshore_operation_cancel_to_end_seconds", "TYPE")),
        ]),
        ("Attempts", [
            lines("Attempts per operation", "Of operations that ended.", "short", {
                "average": rate("longshore_operation_attempts_sum", "TYPE") + " / " + rate(
                    "longshore_operation_attempts_count", "TYPE"),
                "p95": quantile(0.95, "longshore_operation_attempts", "TYPE")}),
            lines("Retried", "Attempts that failed and are followed by another.", "ops",
                  by_type("longshore_operations_retried_total")),
            lines("Leases expired", "Attempts whose worker fell silent. One worker that dies is a bump.", "ops",
                  by_type("longshore_leases_expired_total")),
            lines("Removed", "Records that were removed after their `ttl`.", "ops",
                  by_type("longshore_operations_expired_total")),
        ]),
        ("What makes up for losses", [
            lines("Hints repeated", "Hints that were sent again because they had got lost.", "ops",
                  by_type("longshore_hints_repeated_total")),
            lines("Not sent", "Messages that could not be sent, and are left to a timer.", "ops",
                  {"{{longshore_effect}}": rate("longshore_effects_untold_total", "SITE", "longshore_effect")}),
            lines("Refused", "Reports of attempts that no longer ran, and commits that were tried again because the record "
                  "had changed.", "ops", {"fenced": rate("longshore_writes_fenced_total", "SITE"),
                                          "conflicts": rate("longshore_commit_conflicts_total", "SITE")}),
            lines("Late", "How late timers fire, and how long reports of workers wait to be recorded: the 99th percentile.",
                  "s", {"timers": quantile(0.99, "longshore_timer_lateness_seconds", "SITE"),
                        "reports": quantile(0.99, "longshore_event_lag_seconds", "SITE")}, steps("transparent", (5, RED))),
        ]),
        ("Traces of one operation", [
            traces("table", "Attempts", "Attempts of the operation whose id, what follows operations/, is in the field "
                   "above.", {"queryType": "search", "service": "longshore-worker", "tags": "operation=${operation:raw}",
                              "limit": 20}),
            traces("traces", "Trace", "The trace whose id is in the field above: `longshore get NAME` shows it as "
                   "`traceId` of the metadata.", {"query": "${trace:raw}"}),
        ]),
    ], [source("traces", "Jaeger", "jaeger"), text("operation", "Operation"), text("trace", "Trace")])


def queues():
    depth = "max by (namespace, job, longshore_job_type) (longshore_queue_depth{TYPE})"
    of_type = lambda expr: {"{{longshore_job_type}}": expr}
    starts = "longshore_operation_schedule_to_start_seconds_count"
    return board("queues", "Queues", "What waits for a worker. A queue is a job type.", [
        ("Now", [
            stat("Waiting", "Operations that wait for a worker.", "short", {"": f"sum({depth})"}),
            stat("Longest wait", "How long the oldest of them has waited.", "s",
                 {"": "max(longshore_queue_oldest_age_seconds{TYPE})"}, steps(GREEN, (300, ORANGE), (900, RED))),
            stat("Without a worker", "Operations that wait for a type that no worker runs of which Prometheus knows.", "short",
                 {"": f"sum({depth} unless on (namespace, job, longshore_job_type) longshore_worker_slots_used) or vector(0)"},
                 steps(GREEN, (1, RED))),
        ]),
        ("By job type", [
            lines("Waiting", "Operations that wait for a worker.", "short", of_type(f"sum by (longshore_job_type) ({depth})"),
                  stack=True),
            lines("Longest wait", "How long the oldest of them has waited.", "s",
                  of_type("max by (longshore_job_type) (longshore_queue_oldest_age_seconds{TYPE})"),
                  steps("transparent", (300, ORANGE), (900, RED))),
        ]),
        ("In and out", [
            lines("Accepted", "What comes in, without attempts that are tried again.", "ops", of_type(
                rate("longshore_operations_submitted_total", "TYPE", "longshore_job_type"))),
            lines("Started", "What workers take out.", "ops", of_type(rate(starts, "TYPE", "longshore_job_type"))),
            lines("From ready to started", "The 95th percentile of those that have started.", "s", of_type(
                quantile(0.95, "longshore_operation_schedule_to_start_seconds", "TYPE", "longshore_job_type"))),
            lines("Until it is empty", "How long the queue would take if nothing came in.", "s", of_type(
                f"sum by (longshore_job_type) ({depth}) / ({rate(starts, 'TYPE', 'longshore_job_type')} > 0)")),
        ]),
    ])


def workers():
    used, slots = "longshore_worker_slots_used{TYPE}", "longshore_worker_slots{SITE}"
    return board("workers", "Workers", "Who runs the jobs, and with how much room.", [
        ("Now", [
            stat("Workers", "Workers that Prometheus knows.", "short", {"": f"count({slots})"}, steps(RED, (1, GREEN))),
            stat("Slots", "Attempts that they may run at once.", "short", {"": f"sum({slots})"}),
            stat("Free", "Attempts that they could run besides.", "short", {"": "sum(longshore_worker_slots_free{SITE})"},
                 steps(RED, (1, GREEN))),
        ]),
        ("Slots", [
            lines("Running", "Attempts that run, by job type.", "short", {
                "{{longshore_job_type}}": f"sum by (longshore_job_type) ({used})"}, stack=True),
            lines("Part that is taken", "Of each worker's slots.", "percentunit", {
                "{{instance}}": "1 - longshore_worker_slots_free{SITE} / longshore_worker_slots{SITE}"},
                steps("transparent", (1, ORANGE)), max=1),
            lines("Free by job type", "Free slots of the workers that run it. Other types may take them.", "short", {
                "{{longshore_job_type}}": "sum by (longshore_job_type) (longshore:worker_slots_free:sum{TYPE})"}),
        ]),
        ("Attempts", [
            lines("Ended", "By what became of them in the worker.", "ops", {"{{longshore_outcome}}": rate(
                "longshore_worker_attempts_total", "TYPE", "longshore_outcome")}, stack=True),
            lines("Run", "The 95th percentile by job type.", "s", {"{{longshore_job_type}}": quantile(
                0.95, "longshore_operation_run_seconds", "TYPE", "longshore_job_type")}),
            lines("Leases", "Lost: the worker could not renew and gave up. Expired: nobody heard of it any more.", "ops", {
                "lost, {{instance}}": rate("longshore_worker_leases_lost_total", "SITE", "instance"),
                "expired": rate("longshore_leases_expired_total", "TYPE")}),
        ]),
        ("Processes", [
            lines("Processor", "Of the worker itself; what executables of jobs use is not in it.", "percentunit", {
                "{{instance}}": 'rate(process_cpu_seconds_total{SITE, role="worker"}[$__rate_interval])'}),
            lines("Memory", "Of the worker itself; what executables of jobs use is not in it.", "bytes", {
                "{{instance}}": 'process_resident_memory_bytes{SITE, role="worker"}'}),
        ]),
    ])


def servers():
    def part(metric, operation, system):
        count = metric + "_count"
        return [
            lines("Calls", f"Calls of {system} by all roles, a batch being one.", "ops",
                  {f"{{{{{operation}}}}}": rate(count, "SITE", operation)}, stack=True),
            lines("Slowest in a hundred", f"The 99th percentile, by what is asked of {system}.", "s",
                  {f"{{{{{operation}}}}}": quantile(0.99, metric, "SITE", operation)}),
            lines("By role", "The 95th percentile as each role sees it. If one differs, look at its network.", "s",
                  {"{{role}}": quantile(0.95, metric, "SITE", "role")}),
            lines("Failed", "Calls that failed, by why. Nothing is shown if none has.", "ops", {
                f"{{{{error_type}}}} {{{{{operation}}}}}": rate(count, 'SITE, error_type!=""', f"error_type, {operation}")}),
        ]
    return board("servers", "Redis and NATS", "The servers beneath, as the roles see them.", [
        ("Store: Redis", part("db_client_operation_duration_seconds", "db_operation_name", "the store")),
        ("Bus: NATS", part("messaging_client_operation_duration_seconds", "messaging_operation_name", "the bus")),
        ("What follows from it", [
            lines("Commits tried again", "Because the record had changed meanwhile.", "ops",
                  {"{{role}}": rate("longshore_commit_conflicts_total", "SITE", "role")}),
            lines("Reports recorded late", "From when the bus had a worker's report to when the store had it.", "s",
                  quantiles("longshore_event_lag_seconds", "SITE"), steps("transparent", (5, RED))),
            lines("Records", "Operations in the store, ended or not.", "short",
                  {"records": "sum(max by (namespace, job) (longshore_records{SITE}))"}),
        ]),
    ])


def processes():
    name = "{{role}} {{instance}}"
    return board("processes", "Processes", "What the roles take from the machines that they run on.", [
        ("Which", [
            lines("Age", "Since the start. A saw is a process that starts again and again.", "s",
                  {name: "time() - process_start_time_seconds{SITE}"}),
            lines("Versions", "Processes by version: more than one while an upgrade goes on.", "short",
                  {"{{service_name}} {{service_version}}":
                   'count by (service_name, service_version) (target_info{SITE, service_name=~"longshore-.*"})'}),
        ]),
        ("Machine", [
            lines("Processor", "1 is one core.", "percentunit",
                  {name: "rate(process_cpu_seconds_total{SITE}[$__rate_interval])"}),
            lines("Memory", "Resident.", "bytes", {name: "process_resident_memory_bytes{SITE}"}),
            lines("File descriptors", "Part of those that the process may have open.", "percentunit",
                  {name: "process_open_fds{SITE} / process_max_fds{SITE}"}, steps("transparent", (0.8, RED)), max=1),
            lines("Threads", "Threads of the process.", "short", {name: "process_threads{SITE}"}),
        ]),
        ("Runtime", [
            lines("Tasks", "Tasks that are alive. What grows without more work is a leak.", "short",
                  {name: "longshore_runtime_tasks{SITE}"}),
            lines("Tasks that wait for a thread", "More than some of them for long: the process needs more cores.", "short",
                  {name: "longshore_runtime_queue{SITE}"}),
            lines("Busy", "Threads' time on tasks: 1 is one thread.", "percentunit",
                  {name: rate("longshore_runtime_busy_seconds_total", "SITE", "role, instance")}),
        ]),
    ])


def boards():
    """File names and what is in them."""
    made = [overview(), operations(), queues(), workers(), servers(), processes()]
    return {f"{board['uid']}.json": json.dumps(board, indent=1) + "\n" for board in made}


if __name__ == "__main__":
    for name, content in boards().items():
        (FOLDER / name).write_text(content)
