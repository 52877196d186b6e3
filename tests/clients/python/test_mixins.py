"""The operation mixins of two real libraries: google-cloud-translate and google-cloud-run.

Longshore serves their operations, not what they start: their own futures follow a job here.
"""

import grpc
import pytest
from google.api_core import exceptions, operation
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2, translate_v3
from google.longrunning import operations_pb2
from google.protobuf import duration_pb2, struct_pb2
from google.protobuf.json_format import MessageToDict
from google.rpc import code_pb2

CLIENTS = {"translate": translate_v3.TranslationServiceClient, "run": run_v2.ServicesClient}


@pytest.fixture(params=[(name, kind) for name in CLIENTS for kind in ("grpc", "rest")], ids="-".join)
def client(request, address):
    name, kind = request.param
    library = CLIENTS[name]
    transport = library.get_transport_class(kind)
    if kind == "grpc":
        with grpc.insecure_channel(address) as channel:
            yield library(transport=transport(channel=channel, credentials=AnonymousCredentials()))
    else:
        credentials = AnonymousCredentials()
        yield library(transport=transport(host=address, credentials=credentials, url_scheme="http"))


def wait(client, name, **timeout):
    """Waits by the mixin, which over gRPC returns the message's bytes: these libraries give it no
    deserializer."""
    request = operations_pb2.WaitOperationRequest(name=name, timeout=duration_pb2.Duration(**timeout))
    answer = client.wait_operation(request, timeout=60)
    return operations_pb2.Operation.FromString(answer) if isinstance(answer, bytes) else answer


def test_get(client, finished):
    expected = finished("ok", input={"word": "hello"})
    assert MessageToDict(client.get_operation({"name": expected.name})) == MessageToDict(expected)


def test_list(client, run, finished, parent):
    done = finished("ok").name
    running = [run("stuck").name for _ in range(3)]
    request = {"name": parent, "filter": "done=false", "page_size": 2}
    first = client.list_operations(request)
    second = client.list_operations({**request, "page_token": first.next_page_token})
    assert [operation.name for operation in [*first.operations, *second.operations]] == running[::-1]
    assert len(first.operations) == 2 and not second.next_page_token
    [found] = client.list_operations({"name": parent, "filter": "done=true"}).operations
    assert found.name == done


def test_wait(client, run):
    assert wait(client, run("slow").name, seconds=30).done
    assert not wait(client, run("stuck").name, nanos=1_000_000).done


def test_delete(client, finished):
    name = finished("ok").name
    client.delete_operation({"name": name})
    with pytest.raises(exceptions.NotFound) as caught:
        client.get_operation({"name": name})
    assert caught.value.reason == "OPERATION_NOT_FOUND"


def test_cancel(client, run):
    # Cloud Run has no such mixin, but futures that cancel.
    name = run("stuck").name
    if hasattr(client, "cancel_operation"):
        client.cancel_operation({"name": name})
    else:
        client.transport.operations_client.cancel_operation(name)
    ended = wait(client, name, seconds=60)
    assert ended.error.code == code_pb2.CANCELLED


def test_failed(client, run):
    error = wait(client, run("fail").name, seconds=60).error
    assert error.code == code_pb2.INVALID_ARGUMENT
    assert "no such flavour: anchovy" in error.message


def test_invalid_argument(client, parent):
    with pytest.raises(exceptions.BadRequest) as caught:
        client.list_operations({"name": parent, "filter": "done = (("})
    assert caught.value.reason == "INVALID_FILTER"


def test_future_of_the_library(client, run, messages, often):
    """As the library itself makes one of what its own methods return."""
    futures = client.transport.operations_client
    types = {"metadata_type": messages.OperationMetadata, "polling": often}
    result = operation.from_gapic(run("slow"), futures, struct_pb2.Struct, **types)
    assert dict(result.result(timeout=60)) == {"said": "slowly", "count": 2}
    stuck = operation.from_gapic(run("stuck"), futures, struct_pb2.Struct, **types)
    assert stuck.cancel()
    assert isinstance(stuck.exception(timeout=60), exceptions.Cancelled)
