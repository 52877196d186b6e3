//! Discovery documents and OpenAPI.

use http::Method;
use serde_json::{Value, json};

use crate::{
    harness::Gateway,
    http::client::Call,
    surfaces::{AUTOML, DIALOGFLOW, VERTEX, settings},
};

async fn get(gateway: &Gateway, target: &str) -> Value {
    Call::get(gateway, target).send().await.ok()
}

/// Each method's verb and whether it has a request.
fn methods(resource: &Value) -> Vec<(String, String, bool)> {
    let methods = resource["methods"].as_object().unwrap();
    let mut all: Vec<_> = methods
        .iter()
        .map(|(name, method)| {
            let verb = method["httpMethod"].as_str().unwrap();
            (name.clone(), verb.to_owned(), method.get("request").is_some())
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_document_says_what_googles_own_says() {
    let gateway = Gateway::start_with(settings(&[VERTEX])).await;
    let document = get(&gateway, "/$discovery/rest?version=v1").await;
    for other in [
        "/%24discovery/rest?version=v1",
        "/discovery/v1/apis/aiplatform/v1/rest",
        "/$discovery/rest",
    ] {
        assert_eq!(get(&gateway, other).await, document);
    }
    let root = format!("http://{}/", gateway.address);
    for (key, value) in [
        ("rootUrl", &*root),
        ("servicePath", ""),
        ("batchPath", "batch"),
        ("name", "aiplatform"),
        ("version", "v1"),
        ("id", "aiplatform:v1"),
    ] {
        assert_eq!(document[key], value);
    }
    const PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
    const VERTEX_AI: &str = "https://www.googleapis.com/auth/aiplatform";
    let known: Vec<_> = document["auth"]["oauth2"]["scopes"].as_object().unwrap().keys().collect();
    assert_eq!(known, [VERTEX_AI, PLATFORM]);

    let operations =
        &document["resources"]["projects"]["resources"]["locations"]["resources"]["operations"];
    let mut methods = operations["methods"].clone();
    for method in methods.as_object_mut().unwrap().values_mut() {
        assert!(method["description"].as_str().unwrap().len() > 20);
        method.as_object_mut().unwrap().remove("description");
        for parameter in method["parameters"].as_object_mut().unwrap().values_mut() {
            assert!(parameter["description"].as_str().unwrap().len() > 10);
            parameter.as_object_mut().unwrap().remove("description");
        }
    }
    let operation = |name: &str, verb: &str, suffix: &str, response: &str, scopes: &[&str]| {
        json!({
            "id": format!("aiplatform.projects.locations.operations.{name}"),
            "httpMethod": verb,
            "path": format!("v1/{{+name}}{suffix}"),
            "flatPath": format!("v1/projects/{{projectsId}}/locations/{{locationsId}}/operations/{{operationsId}}{suffix}"),
            "parameterOrder": ["name"],
            "parameters": {"name": {
                "type": "string", "location": "path", "required": true,
                "pattern": "^projects/[^/]+/locations/[^/]+/operations/[^/]+$",
            }},
            "response": {"$ref": response},
            "scopes": scopes,
        })
    };
    let both = [VERTEX_AI, PLATFORM];
    const OPERATION: &str = "GoogleLongrunningOperation";
    let mut wait = operation("wait", "POST", ":wait", OPERATION, &both);
    wait["parameters"]["timeout"] =
        json!({"type": "string", "location": "query", "format": "google-duration"});
    let expected = json!({
        "cancel": operation("cancel", "POST", ":cancel", "GoogleProtobufEmpty", &both),
        "delete": operation("delete", "DELETE", "", "GoogleProtobufEmpty", &[PLATFORM]),
        "get": operation("get", "GET", "", OPERATION, &both),
        "wait": wait,
        "list": {
            "id": "aiplatform.projects.locations.operations.list",
            "httpMethod": "GET",
            "path": "v1/{+name}/operations",
            "flatPath": "v1/projects/{projectsId}/locations/{locationsId}/operations",
            "parameterOrder": ["name"],
            "parameters": {
                "name": {"type": "string", "location": "path", "required": true, "pattern": "^projects/[^/]+/locations/[^/]+$"},
                "filter": {"type": "string", "location": "query"},
                "pageSize": {"type": "integer", "location": "query", "format": "int32"},
                "pageToken": {"type": "string", "location": "query"},
                "returnPartialSuccess": {"type": "boolean", "location": "query"},
            },
            "response": {"$ref": "GoogleLongrunningListOperationsResponse"},
            "scopes": both,
        },
    });
    assert_eq!(methods, expected);
    let list = &document["schemas"]["GoogleLongrunningListOperationsResponse"]["properties"];
    assert_eq!(list["operations"]["items"], json!({"$ref": OPERATION}));
    assert_eq!(list["nextPageToken"]["type"], "string");
    assert_eq!(document["schemas"][OPERATION]["properties"]["error"]["$ref"], "GoogleRpcStatus");
}

#[tokio::test]
async fn each_surface_has_what_it_offers() {
    let gateway = Gateway::start_with(settings(&[DIALOGFLOW])).await;
    let document = get(&gateway, "/$discovery/rest?version=v2").await;
    let projects = &document["resources"]["projects"]["resources"];
    let has = |name: &str, verb: &str, request| (name.to_owned(), verb.to_owned(), request);
    let three = [has("cancel", "POST", false), has("get", "GET", false), has("list", "GET", false)];
    assert_eq!(methods(&projects["operations"]), three);
    assert_eq!(methods(&projects["locations"]["resources"]["operations"]), three);

    let gateway = Gateway::start_with(settings(&[AUTOML])).await;
    let document = get(&gateway, "/discovery/v1/apis/automl/v1beta1/rest").await;
    let locations = &document["resources"]["projects"]["resources"]["locations"]["resources"];
    assert_eq!(
        methods(&locations["operations"]),
        [
            has("cancel", "POST", true),
            has("delete", "DELETE", false),
            has("get", "GET", false),
            has("list", "GET", false),
            has("wait", "POST", true),
        ]
    );
    let request = &document["schemas"]["GoogleLongrunningWaitOperationRequest"]["properties"];
    assert_eq!(request.as_object().unwrap().keys().collect::<Vec<_>>(), ["timeout"]);

    let gateway = Gateway::start().await;
    let document = get(&gateway, "/$discovery/rest?version=v3").await;
    assert_eq!((&document["name"], &document["version"]), (&json!("longshore"), &json!("v3")));
    assert_eq!(methods(&document["resources"]["jobs"]), [has("run", "POST", true)]);
    assert_eq!(methods(&document["resources"]["operations"]).len(), 5);
}

#[tokio::test]
async fn documents_are_found_by_host_name_and_version() {
    let gateway = Gateway::start_with(settings(&[VERTEX, AUTOML].map(|file| {
        // One of both is enough.
        file.split("# Jobs are").next().unwrap()
    })))
    .await;
    let directory = get(&gateway, "/discovery/v1/apis").await;
    let ids: Vec<_> = directory["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["aiplatform:v1", "aiplatform:v1beta1", "automl:v1", "automl:v1beta1"]);
    for target in [
        "/$discovery/rest?version=v7",
        "/$discovery/rest?version=",
        "/discovery/v1/apis/automl/v7/rest",
        "/discovery/v1/apis/other/v1/rest",
    ] {
        let missed = Call::get(&gateway, target).send().await;
        assert_eq!(
            (missed.status.as_u16(), &*missed.reason()),
            (404, "SURFACE_NOT_FOUND"),
            "{target}"
        );
    }
    let wrong = Call::post(&gateway, "/openapi.json").send().await;
    assert_eq!((wrong.status.as_u16(), &*wrong.reason()), (405, "WRONG_VERB"));
    let head = Call::new(&gateway, Method::HEAD, "/openapi.json").send().await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    let proxied = Call::get(&gateway, "/$discovery/rest?version=v1")
        .header("host", "api.example.com")
        .header("x-forwarded-proto", "https");
    assert_eq!(proxied.send().await.ok()["rootUrl"], "https://api.example.com/");
}

/// Every path of the document is served, and every reference in it leads somewhere.
#[tokio::test]
async fn openapi_describes_what_is_served() {
    for file in [None, Some(VERTEX), Some(DIALOGFLOW), Some(AUTOML)] {
        let gateway = Gateway::start_with(settings(&Vec::from_iter(file))).await;
        let document = get(&gateway, "/openapi.json").await;
        assert_eq!(document["openapi"], "3.1.0");
        let mut ids = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (verb, operation) in item.as_object().unwrap() {
                ids.push(operation["operationId"].as_str().unwrap().to_owned());
                let mut target = path.clone();
                for parameter in operation["parameters"].as_array().unwrap() {
                    if parameter["in"] == "path" {
                        let name = parameter["name"].as_str().unwrap();
                        target = target.replace(&format!("{{{name}}}"), "x");
                    }
                }
                assert!(!target.contains('{'), "{target}");
                let verb = verb.to_ascii_uppercase().parse().unwrap();
                let answer = Call::new(&gateway, verb, &target).send().await;
                let is_served = answer.status == 200
                    || ["OPERATION_NOT_FOUND", "INVALID_REQUEST"].contains(&&*answer.reason());
                assert!(is_served, "{target}: {answer:?}");
            }
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert!(count > 2 && ids.len() == count, "{ids:?}");
        check_references(&document, &document);
        assert!(!document.to_string().contains("google-d"));
    }
}

fn check_references(document: &Value, part: &Value) {
    match part {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            object.values().for_each(|value| check_references(document, value));
        }
        Value::Array(values) => values.iter().for_each(|value| check_references(document, value)),
        _ => {}
    }
}
