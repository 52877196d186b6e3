"""google-api-python-client, by the discovery documents that Longshore makes."""

import pytest
from google.auth.credentials import AnonymousCredentials
from googleapiclient import discovery, errors


def build(host, api, version, style, **options):
    url = {
        "v1": f"{host}/discovery/v1/apis/{{api}}/{{apiVersion}}/rest",
        "v2": f"{host}/$discovery/rest?version={{apiVersion}}",
    }[style]
    return discovery.build(
        api,
        version,
        discoveryServiceUrl=url,
        static_discovery=False,
        credentials=AnonymousCredentials(),
        cache_discovery=False,
        **options,
    )


@pytest.fixture(params=["v1", "v2"])
def service(request, address):
    """The API that is like Vertex AI's, from either address of its document."""
    host = f"http://localhost:{address.rsplit(':', 1)[1]}"
    with build(host, "aiplatform", "v1", request.param) as service:
        yield service


@pytest.fixture
def operations(service):
    return service.projects().locations().operations()


def test_get(operations, finished):
    name = finished("ok", input={"word": "hello"}, labels={"team": "a"}).name
    operation = operations.get(name=name).execute()
    assert operation["name"] == name and operation["done"] is True
    assert operation["response"]["value"] == {"said": "hello", "count": 1}
    assert operation["metadata"]["@type"] == "type.googleapis.com/google.protobuf.Struct"
    assert operation["metadata"]["value"]["state"] == "SUCCEEDED"
    assert operation["metadata"]["value"]["labels"] == {"team": "a"}


def test_get_part(operations, finished):
    name = finished("ok").name
    assert operations.get(name=name, fields="name,done").execute() == {"name": name, "done": True}


def test_list_next(operations, run, parent):
    names = [run("stuck").name for _ in range(5)]
    request, pages = operations.list(name=parent), []
    while request is not None:
        page = request.execute()
        pages.append([operation["name"] for operation in page["operations"]])
        request = operations.list_next(request, page)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sum(pages, []) == names[::-1]
    assert len(operations.list(name=parent, pageSize=4).execute()["operations"]) == 4


def test_list_with_filter(operations, run, finished, parent):
    done, running = finished("fail").name, run("stuck").name
    names = lambda text: [
        operation["name"] for operation in operations.list(name=parent, filter=text).execute()["operations"]
    ]
    assert names("done=true AND error:*") == [done]
    assert names("NOT done=true") == [running]
    # So long that the client sends it as the body of a POST that stands for a GET.
    assert names("done=true" + ' AND name!="////////////////////"' * 40) == [done]


def test_list_of_an_empty_collection(operations, parent):
    request = operations.list(name=parent)
    page = request.execute()
    assert page == {} and operations.list_next(request, page) is None


def test_wait(operations, run):
    assert operations.wait(name=run("slow").name, timeout="30s").execute()["done"] is True
    assert "done" not in operations.wait(name=run("stuck").name, timeout="0.001s").execute()


def test_cancel(operations, run):
    name = run("stuck").name
    assert operations.cancel(name=name).execute() == {}
    operation = operations.wait(name=name, timeout="60s").execute()
    assert operation["error"]["code"] == 1
    assert operation["metadata"]["value"]["state"] == "CANCELLED"


def test_failed(operations, finished):
    error = operations.get(name=finished("fail").name).execute()["error"]
    assert error["code"] == 3 and "no such flavour: anchovy" in error["message"]


def test_delete(operations, finished):
    name = finished("ok").name
    assert operations.delete(name=name).execute() == {}
    with pytest.raises(errors.HttpError) as caught:
        operations.get(name=name).execute()
    assert caught.value.status_code == 404


def test_not_found(operations, parent):
    name = f"{parent}/operations/nope"
    with pytest.raises(errors.HttpError) as caught:
        operations.get(name=name).execute()
    assert caught.value.status_code == 404 and name in caught.value.reason
    assert caught.value.error_details[0]["reason"] == "OPERATION_NOT_FOUND"


def test_invalid_argument(operations, parent):
    with pytest.raises(errors.HttpError) as caught:
        operations.list(name=parent, filter="done = ((").execute()
    assert caught.value.status_code == 400
    [violations] = [
        detail["fieldViolations"] for detail in caught.value.error_details if "fieldViolations" in detail
    ]
    assert violations[0]["field"] == "filter"


def test_error_formats(operations, parent):
    name = f"{parent}/operations/nope"
    bodies = {}
    for version in ("1", "2"):
        with pytest.raises(errors.HttpError) as caught:
            operations.get(name=name, x__xgafv=version).execute()
        bodies[version] = caught.value.content.decode()
    assert '"errors"' in bodies["1"] and '"errors"' not in bodies["2"]


def test_retries_are_for_errors_that_may_pass(operations, finished, parent):
    name = finished("ok").name
    assert operations.get(name=name).execute(num_retries=3)["done"] is True
    with pytest.raises(errors.HttpError):
        operations.get(name=f"{parent}/operations/nope").execute(num_retries=3)


def test_batch(service, operations, run, finished, parent):
    done, stuck = finished("ok").name, run("stuck").name
    answers = {}
    batch = service.new_batch_http_request(
        callback=lambda key, answer, error: answers.update({key: error or answer})
    )
    batch.add(operations.get(name=done), request_id="get")
    batch.add(operations.list(name=parent, filter="done=false"), request_id="list")
    batch.add(operations.cancel(name=stuck), request_id="cancel")
    batch.add(operations.get(name=f"{parent}/operations/nope"), request_id="nope")
    batch.execute()
    assert answers["get"]["name"] == done
    assert [operation["name"] for operation in answers["list"]["operations"]] == [stuck]
    assert answers["cancel"] == {}
    assert isinstance(answers["nope"], errors.HttpError) and answers["nope"].status_code == 404


def test_has_no_more_methods_than_the_surface(operations):
    assert {name for name in dir(operations) if not name.startswith("_")} == {
        "cancel",
        "close",
        "delete",
        "get",
        "list",
        "list_next",
        "wait",
    }


def test_plain_surface(url, parent):
    """A surface that is open to all names and versions, also starts jobs, and waits by a body."""
    with build(url, "longshore", "v1", "v1") as service:
        body = {"jobType": "slow", "parent": parent, "labels": {"team": "a"}}
        name = service.jobs().run(body=body).execute()["name"]
        assert name.startswith(f"{parent}/operations/")
        operation = service.operations().wait(name=name, body={"timeout": "30s"}).execute()
        assert operation["response"]["value"]["said"] == "slowly"
        assert operation["metadata"]["@type"] == "type.googleapis.com/longshore.v1.OperationMetadata"
        [found] = service.operations().list(name=f"{parent}/operations").execute()["operations"]
        assert found["name"] == name
