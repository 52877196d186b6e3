"""`cargo xtask up`: the topology of the Compose file as processes, with nginx before the gateways,
and in it what a proxy in front of long calls has to do."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.request

import grpc
import pytest
import yaml

from conftest import BINARY, CHART
from topology import CEILING, Site, eventually

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None,
                       reason="there is no nginx"),
]


def bytes_field(number, value):
    """A field of a protobuf message, of fewer than 128 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


@pytest.fixture(scope="module", name="site")
def of_this_file(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.end()
    # What it started has ended with it.
    for name, number in site.ids.items():
        if name not in ("gateway-1", "gateway-2"):
            with pytest.raises(ProcessLookupError):
                os.kill(int(number), 0)


@pytest.fixture(scope="module", name="long_waits")
def over_a_minute(site):
    """Calls that wait in silence for longer than nginx would by itself, 60 s, begun at once and
    looked at in the end: one by gRPC, one by HTTP."""
    slow = site.submit("sleep", {"seconds": 600})
    began = time.monotonic()
    answers = {}

    def by_grpc():
        timeout = bytes([1 << 3, 65])
        answer = site.rpc("WaitOperation", bytes_field(1, slow.encode()), bytes_field(2, timeout))
        answers["grpc"] = answer, time.monotonic() - began

    def by_http():
        answers["http"] = site.call(f"v1/{slow}:wait", {"timeout": "65s"}), time.monotonic() - began

    threads = [threading.Thread(target=call) for call in (by_grpc, by_http)]
    for thread in threads:
        thread.start()
    yield slow, threads, answers
    site.longshore("cancel", slow)


def test_grpc_and_http_reach_the_same_operations(site, long_waits):
    name = site.submit("sleep", {"seconds": 0})
    assert site.longshore("wait", name).returncode == 0
    assert site.call(f"v1/{name}")["done"] is True
    again = site.call("v1/jobs:run", {"jobType": "sleep", "input": {"seconds": 0}})["name"]
    assert json.loads(site.longshore("get", again).stdout)["name"] == again


def test_events_arrive_one_by_one(site, long_waits):
    name = site.submit("sleep", {"seconds": 600})
    request = urllib.request.Request(f"{site.http}/v1/{name}:watch", headers={"accept": "text/event-stream"})
    with urllib.request.urlopen(request, timeout=CEILING) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        events = (json.loads(line.removeprefix(b"data: ")) for line in stream if line.startswith(b"data: "))
        # It comes while the work goes on: nothing holds it back until the end.
        assert "done" not in next(events)
        assert site.longshore("cancel", name).returncode == 0
        assert list(events)[-1]["done"] is True


def test_watches_by_grpc_pass(site, long_waits):
    name = site.submit("sleep", {"seconds": 600})
    site.until_running(name)
    watch = site.follow("watch", name)
    first = watch.stderr.readline()
    assert watch.poll() is None, first
    assert site.longshore("cancel", name).returncode == 0
    operation, _ = watch.communicate(timeout=CEILING)
    # It ended with an error: it was cancelled.
    assert watch.returncode == 1 and json.loads(operation)["done"] is True


def test_helms_test_passes(site, long_waits):
    """The script of the chart's test pod, against the real thing."""
    import helm_python
    values = {"quickstart": {"enabled": True}, "test": {"jobType": "sleep", "input": '{"seconds": 0}'}}
    files = helm_python.Chart.load(str(CHART)).render(values, name="rel", namespace="ns")
    container = yaml.safe_load(files["longshore/templates/tests/operation.yaml"])["spec"]["containers"][0]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert environment["LONGSHORE_SERVER"].endswith(":8081")
    environment |= {"LONGSHORE_SERVER": site.grpc, "PATH": f"{BINARY.parent}:{os.environ['PATH']}"}
    done = subprocess.run([*container["command"], *container["args"]], env=environment, capture_output=True,
                          text=True, timeout=CEILING)
    assert done.returncode == 0 and done.stdout.endswith("Longshore works.\n"), done.stdout + done.stderr


def test_keda_would_find_the_queues(site, long_waits):
    """What KEDA's scaler asks NATS, and the names that the chart gives it."""
    monitor = site.urls["nats"].split()[-1]

    def consumers():
        with urllib.request.urlopen(f"{monitor}/jsz?acc=$G&consumers=true&config=true", timeout=10) as answer:
            account = json.load(answer)["account_details"][0]
        stream = next(stream for stream in account["stream_detail"] if stream["name"] == "LS_JOBS")
        return {found["name"]: found["num_pending"] + found["num_ack_pending"]
                for found in stream.get("consumer_detail", [])}

    assert {f"sleep-{priority}" for priority in ("high", "normal", "low")} <= set(consumers())
    # 2 workers with 8 slots each: what is more waits, and is what scales.
    names = [site.submit("sleep", {"seconds": 600}) for _ in range(20)]
    assert eventually(lambda: consumers()["sleep-normal"] >= 4)
    for name in names:
        assert site.longshore("cancel", name).returncode == 0


def test_a_gateway_that_goes_takes_nothing_with_it(site, long_waits):
    # Its waits end early, which the client goes on from; here nothing is to be cut, so last.
    slow, threads, answers = long_waits
    for thread in threads:
        thread.join(CEILING)
    # Neither call was cut after nginx's own minute. The answer begins with the name, and has no field
    # 3: it is not done.
    operation, took = answers["grpc"]
    assert operation.startswith(bytes_field(1, slow.encode())) and took >= 65
    operation, took = answers["http"]
    assert operation["name"] == slow and not operation.get("done") and took >= 65

    waiting = threading.Event()
    wrong = []

    def call(kind, once):
        while not waiting.is_set():
            try:
                once()
                answered[kind] += 1
            except Exception as error:
                wrong.append((kind, error))

    def by_grpc():
        done = site.longshore("get", slow)
        assert done.returncode == 0, done.stderr

    def by_another():
        try:
            site.rpc("GetOperation", bytes_field(1, slow.encode()))
        except grpc.RpcError as error:
            # A client that does not try again by itself may hear this, and nothing else.
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error

    kinds = {"http": lambda: site.call("v1/operations"), "grpc": by_grpc, "another": by_another}
    answered = dict.fromkeys(kinds, 0)
    threads = [threading.Thread(target=call, args=one) for one in kinds.items()]
    for thread in threads:
        thread.start()
    try:
        for gateway in ("gateway-1", "gateway-2"):
            before = dict(answered)
            eventually(lambda: all(answered[kind] > before[kind] + 5 for kind in answered))
            os.kill(int(site.ids[gateway]), signal.SIGTERM)
            site.told(f"{gateway} has ended (exit status: 0)")
            site.told(f"{gateway} is started anew")
            address = site.urls[f"{gateway} admin"].removeprefix("http://").removesuffix("/readyz")
            eventually(lambda: site.longshore("probe", address).returncode == 0)
    finally:
        waiting.set()
        for thread in threads:
            thread.join(CEILING)
    assert not wrong
