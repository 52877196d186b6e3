//! `WatchOperation` as server-sent events.

use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::timeout;

use super::client::{Answer, Call};
use crate::harness::{GENEROUS, Gateway};

#[tokio::test]
async fn a_watch_is_a_stream_of_events() {
    let gateway = Gateway::start().await;
    let name = gateway.run("p").await;
    for query in ["", "?alt=sse&fields=done,name"] {
        let response = Call::get(&gateway, &format!("/v1/{name}:watch{query}")).open().await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
    }

    let mut response = Call::get(&gateway, &format!("/v1/{name}:watch")).open().await;
    let first = response.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(states(&first), ["PENDING"]);
    gateway.complete(&name).await;
    let rest = timeout(GENEROUS, Answer::read(response)).await.unwrap();
    assert_eq!(states(&rest.body).last().unwrap(), "SUCCEEDED");
    assert!(rest.text().ends_with("id: done\n\n"), "{}", rest.text());

    let again = Call::get(&gateway, &format!("/v1/{name}:watch")).header("last-event-id", "done");
    assert_eq!(again.send().await.status, 204);
    let once = Call::get(&gateway, &format!("/v1/operations/{}:watch", name.replace('/', "%2F")));
    assert_eq!(states(&once.send().await.body), ["SUCCEEDED"]);
}

#[tokio::test]
async fn an_unknown_operation_is_no_stream() {
    let gateway = Gateway::start().await;
    let answer = Call::get(&gateway, "/v1/operations/none:watch").send().await;
    assert_eq!((answer.status.as_u16(), &*answer.reason()), (404, "OPERATION_NOT_FOUND"));
}

#[tokio::test]
async fn the_end_of_the_server_is_an_event() {
    let gateway = Gateway::start().await;
    let name = gateway.run("").await;
    let mut response = Call::get(&gateway, &format!("/v1/{name}:watch")).open().await;
    response.frame().await.unwrap().unwrap();
    gateway.shutdown.cancel();
    let rest = timeout(GENEROUS, Answer::read(response)).await.unwrap();
    assert!(
        rest.text().starts_with("event: error\ndata: {\"error\":{\"code\":503,"),
        "{}",
        rest.text()
    );
}

fn states(events: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(events).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let state = |data| {
        let operation: Value = serde_json::from_str(data).unwrap();
        operation["metadata"]["state"].as_str().unwrap().to_owned()
    };
    data.map(state).collect()
}
