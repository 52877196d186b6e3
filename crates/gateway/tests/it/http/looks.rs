//! How answers look: partial, plain, without a body.

use http::Method;
use serde_json::json;

use super::client::Call;
use crate::harness::Gateway;

#[tokio::test]
async fn an_answer_has_the_fields_asked_for() {
    let gateway = Gateway::start().await;
    let name = gateway.run("p").await;
    for (query, header, expected) in [
        ("?fields=name", "", json!({"name": name})),
        ("?$fields=metadata/state", "", json!({"metadata": {"state": "PENDING"}})),
        ("", "name,metadata.job_type", json!({"name": name, "metadata": {"jobType": "index"}})),
        ("?fields=done", "", json!({})),
    ] {
        let mut call = Call::get(&gateway, &format!("/v1/{name}{query}"));
        if !header.is_empty() {
            call = call.header("x-goog-fieldmask", header);
        }
        assert_eq!(call.send().await.ok(), expected);
    }
    let page = Call::get(&gateway, "/v1/p/operations?fields=operations(name)").send().await.ok();
    assert_eq!(page, json!({"operations": [{"name": name}]}));
}

#[tokio::test]
async fn line_breaks_can_be_left_out() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    for (query, is_pretty) in [
        ("", true),
        ("prettyPrint=true", true),
        ("prettyPrint=false", false),
        ("%24prettyPrint=0", false),
    ] {
        let answer = Call::get(&gateway, &format!("/v1/{name}?{query}")).send().await;
        assert_eq!(answer.text().starts_with("{\n  \"name\": "), is_pretty, "{query}");
    }
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    for target in [format!("/v1/{name}"), "/v1/operations/none".to_owned(), "/healthz".to_owned()] {
        let get = Call::get(&gateway, &target).send().await;
        for is_http2 in [false, true] {
            let mut head = Call::new(&gateway, Method::HEAD, &target);
            if is_http2 {
                head = head.http2();
            }
            let head = head.send().await;
            assert_eq!((head.status, head.text()), (get.status, ""));
            assert_eq!(head.headers["content-length"], get.body.len().to_string());
        }
    }
}
