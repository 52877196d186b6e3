"""The topology of the Compose file as processes, for the tests that look at it while it runs."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import grpc

from conftest import BINARY, ROOT

# A ceiling for what happens at all, on a machine under load.
CEILING = 240


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def eventually(check):
    """What a check returns as soon as it is something."""
    deadline = time.monotonic() + CEILING
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, check
        time.sleep(0.2)


class Site:
    """A running topology."""

    def __init__(self, folder, *arguments, **variables):
        command = [os.environ["LONGSHORE_XTASK"], "up", "--http", str(free_port()), "--grpc", str(free_port()),
                   "--data", str(folder), *arguments]
        environment = os.environ | variables
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        self.said, self.lines = [], threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        self.told("Longshore is up")
        self.urls = dict(re.findall(r"^(\S+(?: admin)?) +(\S+(?: http\S+)?)$", "\n".join(self.said), re.M))
        self.http, self.grpc = self.urls["HTTP/JSON"], self.urls["gRPC"]
        self.ids = dict(re.findall(r"(\S+)=(\d+)", next(line for line in self.said if line.startswith("processes"))))

    def _read(self):
        for line in self.process.stdout:
            with self.lines:
                self.said.append(line.rstrip())
                self.lines.notify_all()
        with self.lines:
            self.said.append("(it has ended)")
            self.lines.notify_all()

    def told(self, text):
        """Waits for a line with this text."""
        ended = lambda: self.said and self.said[-1] == "(it has ended)"
        with self.lines:
            assert self.lines.wait_for(lambda: ended() or any(text in line for line in self.said), CEILING), self.said
            assert any(text in line for line in self.said), self.said

    def longshore(self, *arguments):
        """A client command, by gRPC through the proxy."""
        environment = {"PATH": os.environ["PATH"], "LONGSHORE_SERVER": self.grpc}
        return subprocess.run([BINARY, *arguments], env=environment, capture_output=True, text=True, timeout=CEILING)

    def submit(self, job, value):
        done = self.longshore("run", job, "--input", json.dumps(value), "-o", "name")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def follow(self, *arguments):
        """A client command that goes on while the test does."""
        environment = {"PATH": os.environ["PATH"], "LONGSHORE_SERVER": self.grpc}
        return subprocess.Popen([BINARY, *arguments], env=environment, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def until_running(self, name):
        eventually(lambda: self.call(f"v1/{name}")["metadata"]["state"] == "RUNNING")

    def rpc(self, method, *fields):
        """One call of google.longrunning.Operations through the proxy, by another client library."""
        with grpc.insecure_channel(self.grpc.removeprefix("http://")) as channel:
            return channel.unary_unary(f"/google.longrunning.Operations/{method}")(b"".join(fields), timeout=CEILING)

    def call(self, path, body=None):
        """HTTP/JSON through the proxy."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.http}/{path}", data, timeout=CEILING) as answer:
            return json.load(answer)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(CEILING) == 0
