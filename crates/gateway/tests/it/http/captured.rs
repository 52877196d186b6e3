//! The requests that Google's own clients were seen to send.

use http::Method;
use longshore_gateway::Settings;
use serde_json::{Value, json};
use tokio::time::Duration;

use super::client::{Answer, Call};
use crate::harness::Gateway;

const PARENT: &str = "projects/p/locations/l";

async fn quick() -> Gateway {
    Gateway::start_with(Settings { max_wait: Duration::from_millis(20), ..Settings::default() })
        .await
}

/// Sends a request with the headers that Python's REST transport adds.
async fn python(gateway: &Gateway, verb: Method, target: &str) -> Answer {
    Call::new(gateway, verb, target)
        .header("content-type", "application/json")
        .header("accept", "*/*")
        .header(
            "x-goog-api-client",
            "gl-python/3.11.7 rest/requests@2.34.2 gax/2.44.0 gapic/2.44.0",
        )
        .header("x-goog-request-params", "name=projects/p/locations/l/operations/a+b")
        .send()
        .await
}

fn names(page: &Value) -> Vec<&str> {
    let operations = page["operations"].as_array().map_or(&[][..], |operations| operations);
    operations.iter().map(|operation| operation["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn python_api_core() {
    let gateway = quick().await;
    let name = gateway.run(PARENT).await;
    let other = gateway.run(PARENT).await;

    let operation = python(&gateway, Method::GET, &format!("/v1/{name}")).await.ok();
    assert_eq!(operation["name"], name);
    assert_eq!(
        operation["metadata"]["@type"],
        "type.googleapis.com/longshore.v1.OperationMetadata"
    );
    assert_eq!(operation["metadata"]["state"], "PENDING");
    assert_eq!(operation.get("done"), None);

    let filter = "filter=done%3Dfalse+AND+NOT+done%3Dtrue";
    let page =
        python(&gateway, Method::GET, &format!("/v1/{PARENT}/operations?{filter}")).await.ok();
    assert_eq!(names(&page), [&*other, &*name]);
    assert_eq!(page.get("nextPageToken"), None);

    let first = format!("/v1/{PARENT}/operations?pageSize=1&returnPartialSuccess=False");
    let page = python(&gateway, Method::GET, &first).await.ok();
    assert_eq!(names(&page), [&*other]);
    let token = page["nextPageToken"].as_str().unwrap();
    let page = python(&gateway, Method::GET, &format!("{first}&pageToken={token}")).await.ok();
    assert_eq!((names(&page), page.get("nextPageToken")), (vec![&*name], None));

    for _ in 0..2 {
        let answer = python(&gateway, Method::POST, &format!("/v1/{name}:cancel")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "{}"));
    }
    let operation = python(&gateway, Method::GET, &format!("/v1/{name}")).await.ok();
    assert_eq!((&operation["done"], &operation["error"]["code"]), (&json!(true), &json!(1)));
    let answer = python(&gateway, Method::DELETE, &format!("/v1/{name}")).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "{}"));
    let gone = python(&gateway, Method::GET, &format!("/v1/{name}")).await;
    assert_eq!((gone.status.as_u16(), &*gone.reason()), (404, "OPERATION_NOT_FOUND"));
}

#[tokio::test]
async fn python_discovery() {
    let gateway = quick().await;
    let name = gateway.run(PARENT).await;
    let get = Call::get(&gateway, &format!("/v1/{name}?alt=json&%24.xgafv=2&trace=t&pp=1"));
    let get = get.header("accept-encoding", "gzip, deflate").header("content-length", "0");
    assert_eq!(get.send().await.ok()["name"], name);

    let wait = format!("/v1/{name}:wait");
    for (verb, target, body) in [
        (Method::POST, format!("{wait}?timeout=0.01s&alt=json"), ""),
        (Method::POST, format!("{wait}?alt=json"), "{\"timeout\": \"0.01s\"}"),
        (Method::POST, wait.clone(), "{}"),
        (Method::GET, format!("{wait}?timeout=0.01s"), ""),
        (Method::GET, wait.clone(), ""),
    ] {
        let answer = Call::new(&gateway, verb, &target).body(body).send().await.ok();
        assert_eq!(answer["name"], name);
    }

    let long = format!("filter={}&alt=json", "done=false+AND+".repeat(30) + "done=false");
    let list = Call::post(&gateway, &format!("/v1/{PARENT}/operations"))
        .header("x-http-method-override", "GET")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(long);
    assert_eq!(names(&list.send().await.ok()), [name]);
}

#[tokio::test]
async fn node_gax() {
    let gateway = quick().await;
    for parent in ["", PARENT] {
        let name = gateway.run(parent).await;
        let encoded = name.replace('/', "%2F");
        let style = "$alt=json%3Benum-encoding=int&$prettyPrint=0";
        for target in [format!("/v1/operations/{encoded}?"), format!("/v1/{name}?{style}")] {
            let operation = Call::get(&gateway, &target).send().await;
            assert_eq!(operation.ok()["name"], name, "{target}");
            assert_eq!(operation.text().contains('\n'), !target.contains("$prettyPrint"));
        }
        let numeric = Call::get(&gateway, &format!("/v1/{name}?{style}")).send().await.ok();
        assert_eq!(numeric["metadata"]["state"], 1);
        let cancel =
            Call::post(&gateway, &format!("/v1/operations/{encoded}:cancel")).json(&json!({}));
        assert_eq!(cancel.send().await.ok(), json!({}));
        let delete = Call::new(&gateway, Method::DELETE, &format!("/v1/operations/{encoded}"));
        assert_eq!(delete.send().await.ok(), json!({}));
    }
}

#[tokio::test]
async fn rust_and_java() {
    let gateway = quick().await;
    let name = gateway.run("").await;
    let alt = "%24alt=json%3Benum-encoding%3Dint";
    let operation = Call::get(&gateway, &format!("/v1/{name}?{alt}")).header("host", "localhost");
    assert_eq!(operation.send().await.ok()["metadata"]["state"], 1);
    for query in [
        format!("filter=&pageSize=0&pageToken=&returnPartialSuccess=false&{alt}"),
        "filter&pageSize=0&pageToken".to_owned(),
    ] {
        let page = Call::get(&gateway, &format!("/v1/operations?{query}")).send().await.ok();
        assert_eq!(names(&page), [&*name]);
    }
    let cancel = Call::post(&gateway, &format!("/v1/{name}:cancel?{alt}")).json(&json!({}));
    assert_eq!(cancel.http2().send().await.ok(), json!({}));
}

#[tokio::test]
async fn every_version_is_the_same() {
    let gateway = quick().await;
    let name = gateway.run("a/b/c/d/e/f").await;
    for version in ["v1", "v1beta1", "v2", "v1alpha", "v3p2beta1", "ui"] {
        let operation = Call::get(&gateway, &format!("/{version}/{name}")).send().await.ok();
        assert_eq!(operation["name"], name);
    }
    assert_eq!(Call::get(&gateway, &format!("/{name}")).send().await.reason(), "UNKNOWN_PATH");
}

#[tokio::test]
async fn an_empty_response_has_no_value_and_an_unknown_one_breaks_no_list() {
    let gateway = quick().await;
    let unknown = gateway.run(PARENT).await;
    gateway.complete(&unknown).await;
    let page = Call::get(&gateway, &format!("/v1/{PARENT}/operations")).send().await.ok();
    let response = &page["operations"][0]["response"];
    assert_eq!(*response, json!({"@type": "type.googleapis.com/a.B", "value": ""}));

    let preview = json!({"jobType": "index", "validateOnly": true});
    let operation = Call::post(&gateway, "/v1/jobs:run").json(&preview).send().await.ok();
    assert_eq!(
        operation["response"],
        json!({"@type": "type.googleapis.com/google.protobuf.Empty"})
    );
}
