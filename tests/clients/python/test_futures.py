"""google-api-core: operation.Operation, the future that Google's libraries hand out."""

import concurrent.futures

import pytest
from google.api_core import exceptions, operation, operations_v1
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.protobuf import empty_pb2, struct_pb2


@pytest.fixture(params=["grpc", "rest", "http-json"])
def future(request, channel, url, messages, often):
    """Makes a future of an operation. (`operation.from_grpc` fails by itself in this version: it
    gives its own function an argument that this does not have.)"""

    def future(first, result_type=struct_pb2.Struct):
        types = {"metadata_type": messages.OperationMetadata, "polling": often}
        if request.param == "http-json":
            # For operations of the root: it puts `operations/` before the name itself.
            session = AuthorizedSession(AnonymousCredentials())
            call = lambda method, path: session.request(method, f"{url}/v1/{path}").json()
            value = call("GET", first.name)
            value["name"] = value["name"].removeprefix("operations/")
            return operation.from_http_json(value, call, result_type, **types)
        if request.param == "grpc":
            client = operations_v1.OperationsClient(channel)
        else:
            client = operations_v1.AbstractOperationsClient(
                transport="rest",
                credentials=AnonymousCredentials(),
                client_options=ClientOptions(api_endpoint=url),
            )
        return operation.from_gapic(first, client, result_type, **types)

    return future


@pytest.fixture
def parent(request):
    return "" if "http-json" in request.node.name else request.getfixturevalue("collection")


def test_result_and_metadata(future, run, messages):
    running = future(run("slow"))
    result = running.result(timeout=60)
    assert dict(result) == {"said": "slowly", "count": 2}
    assert running.done() and not running.cancelled() and running.exception() is None
    assert running.metadata.state == messages.OperationMetadata.SUCCEEDED
    assert running.metadata.progress.percent == 50
    assert running.metadata.end_time.ToNanoseconds() > running.metadata.start_time.ToNanoseconds()


def test_result_of_a_done_operation(future, finished):
    assert dict(future(finished("ok", input={"word": "at once"})).result())["said"] == "at once"


def test_empty_result(future, run):
    assert future(run("empty"), empty_pb2.Empty).result(timeout=60) == empty_pb2.Empty()


def test_failed(future, run, messages):
    running = future(run("fail"))
    error = running.exception(timeout=60)
    assert isinstance(error, exceptions.InvalidArgument)
    assert "no such flavour: anchovy" in error.message
    assert running.metadata.state == messages.OperationMetadata.FAILED
    with pytest.raises(exceptions.InvalidArgument):
        running.result()


def test_cancelled(future, run, messages):
    running = future(run("stuck"))
    assert running.cancel()
    error = running.exception(timeout=60)
    assert isinstance(error, exceptions.Cancelled)
    assert running.cancelled()
    assert running.cancel() is False
    assert running.metadata.state == messages.OperationMetadata.CANCELLED


def test_result_in_time_or_not(future, run):
    with pytest.raises(concurrent.futures.TimeoutError):
        future(run("stuck")).result(timeout=0.2)


def test_callback(future, run):
    called = concurrent.futures.Future()
    future(run("slow")).add_done_callback(called.set_result)
    assert dict(called.result(timeout=60).result())["said"] == "slowly"


def test_another_type_than_expected(future, run):
    with pytest.raises(TypeError):
        future(run("ok"), empty_pb2.Empty).result(timeout=60)
