//! `RunJob` by HTTP.

use serde_json::json;

use super::client::Call;
use crate::harness::Gateway;

#[tokio::test]
async fn a_job_is_run_with_any_json() {
    let gateway = Gateway::start().await;
    let request = json!({
        "jobType": "index",
        "input": {"path": "/tmp", "deep": [1, {"a": null}], "ratio": 0.5},
        "labels": {"team": "search"},
        "worksOn": ["projects/p/datasets/5"],
        "priority": "HIGH",
        "retryPolicy": {"maxAttempts": 2, "retryableCodes": ["UNAVAILABLE", 10]},
        "queueTimeout": "60s",
        "scheduleTime": null,
    });
    for (target, prefix) in
        [("/v1/projects/p/jobs:run", "projects/p/operations/"), ("/v1/jobs:run", "operations/")]
    {
        let operation = Call::post(&gateway, target).json(&request).send().await.ok();
        let name = operation["name"].as_str().unwrap();
        assert!(name.starts_with(prefix), "{name}");
        let metadata = &operation["metadata"];
        assert_eq!(
            (&metadata["jobType"], &metadata["priority"]),
            (&json!("index"), &json!("HIGH"))
        );
        assert_eq!(metadata["labels"], request["labels"]);
        assert_eq!(Call::get(&gateway, &format!("/v1/{name}")).send().await.ok()["name"], name);
    }
}

#[tokio::test]
async fn a_body_comes_in_many_forms() {
    let gateway = Gateway::start().await;
    let json = "{\"job_type\": \"index\"}";
    for (kind, body) in [
        ("application/json", json),
        ("application/json; charset=UTF-8", json),
        ("text/plain", json),
        ("application/x-www-form-urlencoded", json),
        ("application/x-www-form-urlencoded", "jobType=index&worksOn=a&worksOn=b"),
    ] {
        let call = Call::post(&gateway, "/v1/jobs:run").header("content-type", kind).body(body);
        assert_eq!(call.send().await.ok()["metadata"]["jobType"], "index", "{kind}");
    }
    let call = Call::post(&gateway, "/v1/jobs:run?jobType=index&labels=").body(json);
    assert_eq!(call.send().await.reason(), "UNKNOWN_FIELD");
    let call = Call::post(&gateway, "/v1/jobs:run?jobType=index&retryPolicy.maxAttempts=2");
    assert_eq!(call.send().await.ok()["metadata"]["maxAttempts"], 2);
}

#[tokio::test]
async fn a_trace_is_taken_up() {
    let gateway = Gateway::start().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let call = Call::post(&gateway, "/v1/jobs:run")
        .header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"))
        .json(&json!({"jobType": "index"}));
    assert_eq!(call.send().await.ok()["metadata"]["traceId"], trace);
}

#[tokio::test]
async fn a_deadline_ends_a_wait() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    for (header, value) in [("x-server-timeout", "0.05"), ("grpc-timeout", "50m")] {
        let wait = Call::post(&gateway, &format!("/v1/{name}:wait")).header(header, value);
        assert_eq!(wait.send().await.ok()["name"], name);
    }
}
