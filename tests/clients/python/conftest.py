"""What the checks share: the server's address, Longshore's own messages, and jobs to look at."""

import functools
import importlib
import os
import pathlib
import sys
import uuid

import grpc
import grpc_tools
import pytest
from google.api_core.future import polling
from google.protobuf import json_format
from grpc_tools import protoc

PROTOS = pathlib.Path(__file__).parents[3] / "proto"


@functools.cache
def generated(folder):
    """Compiles longshore.v1 as an API author would, and imports it: from then on REST clients can
    read its messages in an Any."""
    known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTOS}", f"-I{known}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    assert protoc.main([*arguments, str(PROTOS / "longshore/v1/jobs.proto")]) == 0
    sys.path.append(folder)
    return [importlib.import_module(f"longshore.v1.{name}") for name in ("jobs_pb2", "jobs_pb2_grpc")]


@pytest.fixture(scope="session")
def address():
    """HOST:PORT."""
    return os.environ["LONGSHORE_ADDRESS"]


@pytest.fixture(scope="session")
def url(address):
    return f"http://{address}"


@pytest.fixture(scope="session")
def channel(address):
    with grpc.insecure_channel(address) as channel:
        yield channel


@pytest.fixture(scope="session")
def messages(tmp_path_factory):
    """The module with longshore.v1's messages."""
    return generated(str(tmp_path_factory.mktemp("generated")))[0]


@pytest.fixture(scope="session")
def services(messages, tmp_path_factory):
    return sys.modules["longshore.v1.jobs_pb2_grpc"]


@pytest.fixture
def collection():
    """A collection that no other check uses."""
    return f"projects/p/locations/l{uuid.uuid4().hex[:12]}"


@pytest.fixture
def parent(collection):
    """Under what the operations of a check are."""
    return collection


@pytest.fixture
def run(channel, messages, services, parent):
    """Runs a job and returns its operation, as it is at first."""
    stub = services.JobsStub(channel)

    def run(job_type, parent=parent, **fields):
        values = {"jobType": job_type, "parent": parent, **fields}
        return stub.RunJob(json_format.ParseDict(values, messages.RunJobRequest()), timeout=30)

    return run


@pytest.fixture
def finished(run, channel):
    """Runs a job to its end and returns its operation."""
    from google.longrunning import operations_pb2, operations_pb2_grpc

    stub = operations_pb2_grpc.OperationsStub(channel)

    def finished(*arguments, **fields):
        operation = run(*arguments, **fields)
        while not operation.done:
            request = operations_pb2.WaitOperationRequest(name=operation.name)
            operation = stub.WaitOperation(request, timeout=60)
        return operation

    return finished


@pytest.fixture(scope="session")
def often():
    """How a future polls here: more often than by default, and not for ever."""
    return polling.DEFAULT_POLLING.with_delay(initial=0.05, maximum=0.5).with_timeout(60)
