//! Errors as Google words them.

use std::sync::atomic::Ordering::SeqCst;

use http::Method;
use serde_json::json;

use super::client::Call;
use crate::harness::Gateway;

#[tokio::test]
async fn an_unknown_parameter_is_refused_in_googles_words() {
    let gateway = Gateway::start().await;
    let answer = Call::get(&gateway, "/v1/operations?foo=1&alt=json&$.xgafv=1").send().await;
    assert_eq!((answer.status.as_u16(), &*answer.reason()), (400, "UNKNOWN_FIELD"));
    let message = "Invalid JSON payload received. Unknown name \"foo\": Cannot bind query parameter. Field 'foo' could not be found in request message.";
    let expected = json!({"error": {
        "code": 400,
        "message": message,
        "errors": [{"message": message, "domain": "global", "reason": "badRequest"}],
        "status": "INVALID_ARGUMENT",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "UNKNOWN_FIELD", "domain": "longshore"},
            {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"description": message}]},
        ],
    }});
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn a_wrong_body_is_refused_in_googles_words() {
    let gateway = Gateway::start().await;
    let body = json!({"jobType": "index", "x": 1, "retryPolicy": {"y": 2, "maxAttempts": "z"}});
    let answer = Call::post(&gateway, "/v1/jobs:run").json(&body).send().await;
    assert_eq!(answer.reason(), "UNKNOWN_FIELD");
    let error = &answer.json()["error"];
    let lines: Vec<_> = error["message"].as_str().unwrap().lines().collect();
    assert_eq!(
        lines,
        [
            "Invalid JSON payload received. Unknown name \"x\": Cannot find field.",
            "Invalid JSON payload received. Unknown name \"y\" at 'retry_policy': Cannot find field.",
            "Invalid value at 'retry_policy.max_attempts' (TYPE_INT32), \"z\"",
        ]
    );
    let violations = &error["details"][1]["fieldViolations"];
    assert_eq!(
        (&violations[1]["field"], violations.as_array().unwrap().len()),
        (&json!("retry_policy"), 3)
    );

    for (body, reason) in [
        ("{", "INVALID_PAYLOAD"),
        ("[]", "INVALID_PAYLOAD"),
        ("\u{fffd}", "INVALID_PAYLOAD"),
        (&"{\"input\":".repeat(200), "INVALID_PAYLOAD"),
        ("{\"jobType\": 1}", "INVALID_REQUEST"),
        ("{\"jobType\": \"index\", \"ttl\": \"-\"}", "INVALID_REQUEST"),
    ] {
        let answer = Call::post(&gateway, "/v1/jobs:run").body(body.to_owned()).send().await;
        assert_eq!((answer.status.as_u16(), &*answer.reason()), (400, reason), "{body}");
    }
}

#[tokio::test]
async fn a_large_body_is_refused() {
    let gateway = Gateway::start().await;
    let body = format!("{{\"jobType\": \"{}\"}}", "x".repeat(2 << 20));
    let answer = Call::post(&gateway, "/v1/jobs:run").http2().body(body).send().await;
    assert_eq!(answer.reason(), "PAYLOAD_TOO_LARGE");
    let message = "Request payload size exceeds the limit: 2097152 bytes.";
    assert_eq!(answer.json()["error"]["message"], message);
}

#[tokio::test]
async fn paths_and_verbs_are_told_apart() {
    let gateway = Gateway::start().await;
    for target in [
        "/",
        "/v1",
        "/v1/operations/",
        "/v1//operations",
        "/v1/operations/a:sing",
        "/v1/x",
        "/favicon.ico",
    ] {
        let answer = Call::get(&gateway, target).send().await;
        assert_eq!((answer.status.as_u16(), &*answer.reason()), (404, "UNKNOWN_PATH"), "{target}");
        let options = Call::new(&gateway, Method::OPTIONS, target).send().await;
        assert_eq!(options.status, 404);
    }
    for (verb, target, allow) in [
        (Method::PUT, "/v1/operations/a", "GET, DELETE, HEAD"),
        (Method::GET, "/v1/operations/a:cancel", "POST"),
        (Method::POST, "/v1/operations", "GET, DELETE, HEAD"),
        (Method::DELETE, "/v1/operations/a:wait", "POST, GET, HEAD"),
        (Method::GET, "/batch", "POST"),
        (Method::from_bytes(b"BREW").unwrap(), "/v1/operations", "GET, DELETE, HEAD"),
    ] {
        let answer = Call::new(&gateway, verb, target).send().await;
        assert_eq!((answer.status.as_u16(), &*answer.reason()), (405, "WRONG_VERB"), "{target}");
        assert_eq!(answer.headers["allow"], allow);
        if target != "/batch" {
            let options = Call::new(&gateway, Method::OPTIONS, target).send().await;
            assert_eq!(
                (options.status.as_u16(), &options.headers["allow"]),
                (204, &answer.headers["allow"])
            );
        }
    }
}

#[tokio::test]
async fn an_outage_says_when_to_try_again() {
    let gateway = Gateway::start().await;
    gateway.store.down.store(true, SeqCst);
    let answer = Call::get(&gateway, "/v1/operations/a").send().await;
    assert_eq!((answer.status.as_u16(), &*answer.reason()), (503, "STORE_UNAVAILABLE"));
    assert_eq!(answer.headers["retry-after"], "2");
}

#[tokio::test]
async fn what_is_not_served_is_refused_clearly() {
    let gateway = Gateway::start().await;
    for (query, reason) in [
        ("alt=media", "UNSUPPORTED_PARAMETER"),
        ("alt=sse", "UNSUPPORTED_PARAMETER"),
        ("callback=f", "UNSUPPORTED_PARAMETER"),
        ("fields=kind", "INVALID_FIELD_MASK"),
        ("pageSize=x", "INVALID_REQUEST"),
        ("pageSize=-1", "INVALID_REQUEST"),
        ("pageSize=1&page_size=2", "UNKNOWN_FIELD"),
        ("filter=AND", "INVALID_FILTER"),
        ("pageToken=x", "INVALID_PAGE_TOKEN"),
    ] {
        let answer = Call::get(&gateway, &format!("/v1/operations?{query}")).send().await;
        assert_eq!((answer.status.as_u16(), &*answer.reason()), (400, reason), "{query}");
    }
}
