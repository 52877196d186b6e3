"""What Prometheus sees of an installation that is well, and of those in which an alert fires.

Series are in promtool's notation, a value each minute: `0+60x120` grows by 60 for two hours.
"""

END = 120  # minutes
SLOTS, TASKS = "longshore_worker_slots", "longshore_runtime_tasks"
STARTS = "longshore_operation_schedule_to_start_seconds_count"
FINISHED, LEASES = "longshore_operations_finished_total", "longshore_leases_expired_total"
HINTS, SUBMITTED = "longshore_hints_repeated_total", "longshore_operations_submitted_total"
CALLS, STORE, BUS = (f"{what}_duration_seconds" for what in (
    "rpc_server_call", "db_client_operation", "messaging_client_operation"))
PROCESSES = {"gateway": "g:1", "state": "s:1", "worker": "w:1"}


def series(metric, values, **labels):
    """By its name and labels, all of which have the installation's."""
    labels = {"namespace": "n", "job": "longshore"} | labels
    return {metric + "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}": values}


def always(value):
    return f"{value}+0x{END}"


def growing(by):
    return f"0+{by}x{END}"


def burst(of):
    """All at once after half an hour, and nothing before and after."""
    return f"0x29 {of}x{END - 30}"


def histogram(metric, each, quick, bound, **labels):
    """So many each minute; of those so many within the bound, and the others above."""
    return (series(f"{metric}_count", growing(each), **labels)
            | series(f"{metric}_bucket", growing(quick), le=bound, **labels)
            | series(f"{metric}_bucket", growing(quick), le="10", **labels)
            | series(f"{metric}_bucket", growing(each), le="+Inf", **labels))


def calls(code, each, method="google.longrunning.Operations/GetOperation"):
    return series(f"{CALLS}_count", growing(each), rpc_method=method, rpc_response_status_code=code)


def queue(depth, oldest, **labels):
    labels = {"longshore_job_type": "report"} | labels
    return (series("longshore_queue_depth", always(depth), instance="s:1", role="state", **labels)
            | series("longshore_queue_oldest_age_seconds", oldest, instance="s:1", role="state", **labels))


def slots(used, free, job_type="report"):
    worker = {"instance": "w:1", "role": "worker"}
    return (series(f"{SLOTS}_used", always(used), longshore_job_type=job_type, **worker)
            | series(f"{SLOTS}_free", always(free), **worker))


def ended(outcome, each, job_type="report"):
    return series(FINISHED, growing(each), longshore_job_type=job_type, longshore_outcome=outcome)


def process(role, **values):
    labels = {"instance": PROCESSES[role], "role": role}
    values = {"resident_memory_bytes": always(300_000_000), "start_time_seconds": always(-30_000),
              "open_fds": always(500), "max_fds": always(1024)} | values
    found = series("up", always(1), **labels) | series(TASKS, always(50), **labels)
    for name, value in values.items():
        found |= series(f"process_{name}", value, **labels)
    return found


def starts(each, job_type="report"):
    return series(STARTS, growing(each), longshore_job_type=job_type)


HEALTHY = (
    process("gateway") | process("state") | process("worker")
    # Of another program with much memory and few descriptors, which is not ours to tell of.
    | series("process_open_fds", always(99), job="other", instance="o:1")
    | series("process_max_fds", always(100), job="other", instance="o:1")
    | series("up", always(0), job="other", instance="o:1")
    # Failures within the budget, errors of clients, a probe that tells that something else is down,
    # and calls that last as they were asked to.
    | calls("OK", 6000) | calls("NOT_FOUND", 600) | calls("UNAVAILABLE", 1)
    | calls("UNAVAILABLE", 600, "grpc.health.v1.Health/Check")
    | histogram(CALLS, 60, 60, "0.25", rpc_method="longshore.v1.Jobs/RunJob", rpc_response_status_code="OK")
    | histogram(CALLS, 60, 1, "0.25", rpc_method="google.longrunning.Operations/WaitOperation",
                rpc_response_status_code="OK")
    # One worker was lost once, and so was the storage of the bus.
    | series(LEASES, burst(8), longshore_job_type="report")
    | series(HINTS, burst(200), longshore_job_type="report")
    | queue(3, always(20)) | slots(6, 2) | starts(60)
    | series(SUBMITTED, growing(60), longshore_job_type="report")
    | ended("OK", 30) | ended("CANCELLED", 10) | ended("INVALID_ARGUMENT", 20) | ended("INTERNAL", 1)
    # One of two that ended in an hour has failed: too few to tell.
    | ended("INTERNAL", "0.03", "rare") | ended("OK", "0.03", "rare")
    | histogram("longshore_timer_lateness_seconds", 60, 60, "1")
    | histogram("longshore_event_lag_seconds", 60, 60, "0.1")
    | histogram(STORE, 600, 600, "0.01", db_operation_name="commit", role="state")
    # A batch of the sweep may take long.
    | histogram(STORE, 6, 0, "0.01", db_operation_name="sweep", role="state")
    | series(f"{STORE}_count", growing(1), db_operation_name="commit", error_type="unavailable", role="state")
    | histogram(BUS, 600, 600, "0.01", messaging_operation_name="enqueue", role="state")
    | series(f"{BUS}_count", growing(1), messaging_operation_name="request", error_type="no_responders", role="worker")
)

# By alert: what is different, the labels of the alert, and which others fire along with it.
CASES = {
    # From some minutes ago: 20 % fail.
    "LongshoreErrorBudgetBurnsFast": (
        calls("UNAVAILABLE", 0) | series(f"{CALLS}_count", "0x100 0+1500x20", rpc_response_status_code="UNAVAILABLE",
                                         rpc_method="google.longrunning.Operations/GetOperation"),
        {}, {"LongshoreErrorBudgetBurnsSlowly": {}}),
    # For long: 0.5 % fail.
    "LongshoreErrorBudgetBurnsSlowly": (calls("INTERNAL", 33), {}, {}),
    "LongshoreCallsSlow": (
        histogram(CALLS, 60, 50, "0.25", rpc_method="longshore.v1.Jobs/RunJob", rpc_response_status_code="OK"), {}, {}),
    "LongshoreQueueWithoutWorker": (
        queue(1, f"0+60x{END}", longshore_job_type="nobodys"), {"longshore_job_type": "nobodys"}, {}),
    "LongshoreQueueStuck": (
        queue(9, f"0+60x{END}") | slots(0, 8) | starts(0), {"longshore_job_type": "report"}, {}),
    "LongshoreQueueBehind": (queue(900, always(1200)), {"longshore_job_type": "report"}, {}),
    # All that run are of another type.
    "LongshoreWorkersSaturated": (
        slots(0, 0) | slots(8, 0, "hog") | starts(0) | queue(1, always(600)), {"longshore_job_type": "report"}, {}),
    "LongshoreOperationsFail": (ended("INTERNAL", 30), {"longshore_job_type": "report"}, {}),
    "LongshoreLeasesExpire": (
        series(LEASES, growing(1), longshore_job_type="report"), {"longshore_job_type": "report"}, {}),
    "LongshoreHintsRepeated": (series(HINTS, growing(6), longshore_job_type="report"), {}, {}),
    "LongshoreTimersLate": (histogram("longshore_timer_lateness_seconds", 60, 50, "1"), {}, {}),
    "LongshoreEventLag": (histogram("longshore_event_lag_seconds", 60, 50, "0.1"), {}, {}),
    "LongshoreStoreErrors": (
        series(f"{STORE}_count", growing(60), db_operation_name="commit", error_type="unavailable", role="state"), {}, {}),
    "LongshoreStoreRefuses": (
        series(f"{STORE}_count", growing(1), db_operation_name="commit", error_type="full", role="gateway"),
        {"error_type": "full"}, {}),
    "LongshoreStoreSlow": (histogram(STORE, 600, 500, "0.01", db_operation_name="commit", role="state"), {}, {}),
    "LongshoreBusErrors": (
        series(f"{BUS}_count", growing(60), messaging_operation_name="enqueue", error_type="unavailable", role="gateway"),
        {"error_type": "unavailable"}, {}),
    # The last one goes, and nobody knows its address any more.
    "LongshoreRoleAbsent": (
        {name: f"1x{END - 15} stale" for name in series("up", "", instance="g:1", role="gateway")},
        {"role": "gateway"}, {}),
    "LongshoreProcessDown": (
        series("up", f"1x{END - 15} 0x15", instance="w:1", role="worker"),
        {"instance": "w:1", "role": "worker"}, {}),
    "LongshoreProcessRestarts": (
        process("state", start_time_seconds=f"-30000x{END - 20} 0+120x20"), {"instance": "s:1", "role": "state"}, {}),
    "LongshoreMemoryGrows": (
        process("gateway", resident_memory_bytes=f"300000000+1000000x{END}"), {"instance": "g:1", "role": "gateway"}, {}),
    "LongshoreFileDescriptors": (
        process("gateway", open_fds=always(900)), {"instance": "g:1", "role": "gateway"}, {}),
}
