//! Batches as Python's discovery client sends them.

use super::client::{Answer, Call};
use crate::harness::Gateway;

const BOUNDARY: &str = "===============7330845974216740156==";

/// What `BatchHttpRequest` makes of requests: Python's email package ends lines with `\n` alone.
fn batch(requests: &[String]) -> String {
    let mut text = String::new();
    for (at, request) in requests.iter().enumerate() {
        text += &format!(
            "--{BOUNDARY}\nContent-Type: application/http\nMIME-Version: 1.0\nContent-Transfer-Encoding: binary\nContent-ID: <b29c5de2-0db4 + {at}>\n\n{request}\n"
        );
    }
    text + &format!("--{BOUNDARY}--")
}

async fn send(gateway: &Gateway, target: &str, body: String) -> Answer {
    let kind = format!("multipart/mixed; boundary=\"{BOUNDARY}\"");
    Call::post(gateway, target).header("content-type", &kind).body(body).send().await
}

#[tokio::test]
async fn each_part_is_a_call() {
    let gateway = Gateway::start().await;
    let name = gateway.run("p").await;
    let head =
        "Content-Type: application/json\nMIME-Version: 1.0\naccept: application/json\nHost: x\n";
    let requests = [
        format!("GET /v1/{name}?alt=json HTTP/1.1\n{head}content-length: 0\n\n"),
        format!("GET /v1/operations/none?alt=json&$.xgafv=1 HTTP/1.1\n{head}\n"),
        format!(
            "POST /v1/{name}:wait?alt=json HTTP/1.1\n{head}content-length: 21\n\n{{\"timeout\": \"0.01s\"}}\n"
        ),
        format!("GET /v1/{name}:watch HTTP/1.1\n{head}\n"),
        format!("POST /v1/{name}:cancel?alt=json HTTP/1.1\n{head}\n"),
        format!("GET /batch HTTP/1.1\n{head}\n"),
    ];
    for target in ["/batch", "/batch/longrunning/v1"] {
        let answer = send(&gateway, target, batch(&requests)).await;
        assert_eq!(answer.status, 200);
        let kind = answer.headers["content-type"].to_str().unwrap();
        let boundary = kind.strip_prefix("multipart/mixed; boundary=").unwrap();
        let text = answer.text();
        assert!(text.ends_with(&format!("\r\n--{boundary}--\r\n")), "{text}");
        let parts: Vec<_> = text.split(&format!("--{boundary}\r\n")).skip(1).collect();
        let expected =
            ["200 OK", "404 Not Found", "200 OK", "400 Bad Request", "200 OK", "404 Not Found"];
        assert_eq!(parts.len(), expected.len());
        for (at, (part, status)) in parts.into_iter().zip(expected).enumerate() {
            let id = format!(
                "Content-Type: application/http\r\nContent-ID: <response-b29c5de2-0db4 + {at}>\r\n\r\nHTTP/1.1 {status}\r\n"
            );
            assert!(part.starts_with(&id), "{part}");
            assert!(part.contains("content-type: application/json; charset=UTF-8\r\n"), "{part}");
        }
        assert!(text.contains("\"reason\": \"notFound\""), "{text}");
    }
}

#[tokio::test]
async fn what_is_no_batch_is_refused() {
    let gateway = Gateway::start().await;
    let request = "GET /v1/operations HTTP/1.1\n\n".to_owned();
    for wrong in [
        String::new(),
        "x".to_owned(),
        format!("--{BOUNDARY}\n\n{request}"),
        batch(&["GET".to_owned()]),
        batch(&vec![request.clone(); 101]),
    ] {
        let answer = send(&gateway, "/batch", wrong).await;
        assert_eq!((answer.status.as_u16(), &*answer.reason()), (400, "INVALID_BATCH"));
    }
    let untyped = Call::post(&gateway, "/batch").body(batch(std::slice::from_ref(&request)));
    assert_eq!(untyped.send().await.reason(), "INVALID_BATCH");
    let full = send(&gateway, "/batch", batch(&vec![request; 100])).await;
    assert_eq!(full.text().matches("HTTP/1.1 200 OK").count(), 100);
}
