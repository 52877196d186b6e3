"""google-api-core: OperationsClient over gRPC, AbstractOperationsClient over REST."""

import pytest
from google.api_core import exceptions, operations_v1
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.longrunning import operations_pb2
from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict
from google.rpc import code_pb2, error_details_pb2


@pytest.fixture(params=["grpc", "rest"])
def client(request, channel, url):
    if request.param == "grpc":
        return operations_v1.OperationsClient(channel)
    return operations_v1.AbstractOperationsClient(
        transport="rest",
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=url),
    )


def violated_field(error):
    """The one field that a BadRequest names: a message over gRPC, JSON over REST."""
    fields = []
    for detail in error.details:
        if isinstance(detail, error_details_pb2.BadRequest):
            fields += [violation.field for violation in detail.field_violations]
        elif isinstance(detail, dict):
            fields += [violation["field"] for violation in detail.get("fieldViolations", [])]
    [field] = fields
    return field


def test_get(client, finished, messages):
    expected = finished("ok", input={"word": "hello"}, labels={"team": "a"})
    operation = client.get_operation(expected.name)
    assert MessageToDict(operation) == MessageToDict(expected)
    response, metadata = struct_pb2.Struct(), messages.OperationMetadata()
    assert operation.response.Unpack(response) and operation.metadata.Unpack(metadata)
    assert dict(response) == {"said": "hello", "count": 1}
    assert metadata.state == messages.OperationMetadata.SUCCEEDED
    assert dict(metadata.labels) == {"team": "a"}


def test_get_empty_response(client, finished):
    operation = client.get_operation(finished("empty").name)
    assert operation.response.type_url == "type.googleapis.com/google.protobuf.Empty"


def test_get_name_with_strange_characters(client, finished):
    name = finished("ok", parent="projects/a%20b=c:d+e/locations/~f@g").name
    assert client.get_operation(name).name == name


def test_list_pages(client, run, parent):
    names = [run("stuck").name for _ in range(5)]
    pager = client.list_operations(parent, "")
    pages = [list(page) if not hasattr(page, "operations") else page.operations for page in pager.pages]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [operation.name for page in pages for operation in page] == names[::-1]


def test_list_with_filter(client, run, finished, parent):
    done = finished("ok", worksOn=["models/1"]).name
    failed = finished("fail").name
    running = run("stuck", worksOn=["models/1"]).name
    names = lambda text: {operation.name for operation in client.list_operations(parent, text)}
    assert names("") == {done, failed, running}
    assert names("done=true") == {done, failed}
    assert names("NOT done=true") == {running}
    assert names("error:*") == {failed}
    assert names("metadata.works_on:models/1 AND (done=false OR response.value.said:*)") == {done, running}
    assert names('metadata.@type="type.googleapis.com/longshore.v1.OperationMetadata"') == {
        done,
        failed,
        running,
    }


def test_list_of_an_empty_collection(client, parent):
    assert list(client.list_operations(parent, "done=true")) == []


def test_cancel(client, run, messages):
    name = run("stuck").name
    assert client.cancel_operation(name) is None
    assert client.cancel_operation(name) is None
    operation = client.get_operation(name)
    while not operation.done:
        operation = client.get_operation(name)
    assert operation.error.code == code_pb2.CANCELLED
    metadata = messages.OperationMetadata.FromString(operation.metadata.value)
    assert metadata.state == messages.OperationMetadata.CANCELLED


def test_cancel_of_a_done_operation_changes_nothing(client, finished):
    operation = finished("ok")
    client.cancel_operation(operation.name)
    assert MessageToDict(client.get_operation(operation.name)) == MessageToDict(operation)


def test_failed(client, finished):
    error = client.get_operation(finished("fail").name).error
    assert error.code == code_pb2.INVALID_ARGUMENT
    assert "no such flavour: anchovy" in error.message


def test_delete(client, finished):
    name = finished("ok").name
    assert client.delete_operation(name) is None
    with pytest.raises(exceptions.NotFound):
        client.get_operation(name)
    with pytest.raises(exceptions.NotFound):
        client.delete_operation(name)


def test_not_found(client, parent):
    name = f"{parent}/operations/nope"
    for call in (client.get_operation, client.cancel_operation, client.delete_operation):
        with pytest.raises(exceptions.NotFound) as caught:
            call(name)
        assert name in caught.value.message
        assert caught.value.reason == "OPERATION_NOT_FOUND"
        assert caught.value.domain == "longshore"
        assert caught.value.metadata == {"name": name}


def test_invalid_argument(client, parent):
    # InvalidArgument over gRPC, and over REST its base class: the client goes by the HTTP status.
    with pytest.raises(exceptions.BadRequest) as caught:
        list(client.list_operations(parent, "done = (("))
    assert caught.value.reason == "INVALID_FILTER"
    assert violated_field(caught.value) == "filter"


def test_rest_pages_of_a_chosen_size(url, run, parent):
    client = operations_v1.AbstractOperationsClient(
        transport="rest",
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=url),
    )
    names = {run("stuck").name for _ in range(4)}
    first = client.list_operations(parent, page_size=3)
    assert len(first.operations) == 3
    rest = client.list_operations(parent, page_size=3, page_token=first.next_page_token)
    assert {operation.name for operation in [*first.operations, *rest.operations]} == names
    assert len(list(client.list_operations(parent, page_size=1))) == 4
    with pytest.raises(exceptions.BadRequest) as caught:
        client.list_operations(parent, page_size=-1)
    assert violated_field(caught.value) == "page_size"
    with pytest.raises(exceptions.BadRequest) as caught:
        client.list_operations(parent, "done=true", page_token=first.next_page_token)
    assert violated_field(caught.value) == "page_token"


def test_wait_by_the_generated_stub(channel, run):
    from google.longrunning import operations_pb2_grpc
    from google.protobuf import duration_pb2

    stub = operations_pb2_grpc.OperationsStub(channel)
    wait = lambda name, **timeout: stub.WaitOperation(
        operations_pb2.WaitOperationRequest(name=name, timeout=duration_pb2.Duration(**timeout)), timeout=60
    )
    assert wait(run("slow").name, seconds=30).done
    assert not wait(run("stuck").name, nanos=1_000_000).done
