//! What browsers need beside plain HTTP: CORS, gRPC-Web, and probes of the server's health.

use std::sync::atomic::Ordering::SeqCst;

use bytes::{BufMut, Bytes, BytesMut};
use http::Method;
use longshore_gateway::{HttpSettings, Settings};
use longshore_proto::longrunning::{GetOperationRequest, Operation};
use longshore_testkit::eventually;
use prost::Message;

use super::client::{Answer, Call};
use crate::harness::{GENEROUS, Gateway};

const PAGE: &str = "https://console.example.com";

async fn with_origins(origins: &[&str]) -> Gateway {
    let cors_origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let http = HttpSettings { cors_origins, ..HttpSettings::default() };
    Gateway::start_with(Settings { http, ..Settings::default() }).await
}

async fn preflight(gateway: &Gateway, target: &str, origin: &str) -> Answer {
    Call::new(gateway, Method::OPTIONS, target)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-grpc-web")
        .send()
        .await
}

#[tokio::test]
async fn pages_are_let_in_by_their_origin() {
    const ALLOW: &str = "access-control-allow-origin";
    let closed = Gateway::start().await;
    let open = with_origins(&["http://localhost:3000", PAGE]).await;
    let wide = with_origins(&["*"]).await;
    for target in ["/v1/jobs:run", "/longshore.v1.Jobs/RunJob"] {
        let refused = preflight(&closed, target, PAGE).await;
        assert_eq!(refused.headers.get(ALLOW), None);
        let allowed = preflight(&open, target, PAGE).await;
        assert_eq!(
            (allowed.status.as_u16(), &allowed.headers[ALLOW]),
            (200, &PAGE.parse().unwrap())
        );
        assert_eq!(
            allowed.headers["access-control-allow-headers"],
            "authorization,content-type,x-grpc-web"
        );
        assert_eq!(
            preflight(&open, target, "https://evil.example.com").await.headers.get(ALLOW),
            None
        );
        assert_eq!(preflight(&wide, target, PAGE).await.headers[ALLOW], "*");
    }
    let answer = Call::get(&open, "/v1/operations").header("origin", PAGE).send().await;
    assert_eq!((answer.status.as_u16(), &answer.headers[ALLOW]), (200, &PAGE.parse().unwrap()));
}

#[tokio::test]
async fn grpc_web_is_served_beside_the_others() {
    let gateway = with_origins(&[PAGE]).await;
    let name = gateway.run("p").await;
    let get = async |name: &str| {
        let message = GetOperationRequest { name: name.to_owned() }.encode_to_vec();
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(message.len() as u32);
        frame.extend(message);
        Call::post(&gateway, "/google.longrunning.Operations/GetOperation")
            .header("content-type", "application/grpc-web+proto")
            .header("x-grpc-web", "1")
            .header("origin", PAGE)
            .body(frame.freeze())
            .send()
            .await
    };
    let answer = get(&name).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["content-type"]),
        (200, &"application/grpc-web+proto".parse().unwrap())
    );
    assert_eq!(answer.headers["access-control-allow-origin"], PAGE);
    let (message, trailers) = frames(&answer.body);
    assert_eq!(Operation::decode(message).unwrap().name, name);
    assert!(trailers.contains("grpc-status:0"), "{trailers}");

    let missing = get("operations/none").await;
    assert_eq!(missing.headers["grpc-status"], "5");
    assert!(missing.headers.contains_key("grpc-status-details-bin"));
}

/// The message and the trailers of an answer of gRPC-Web.
fn frames(body: &Bytes) -> (Bytes, String) {
    let length = |at: usize| u32::from_be_bytes(body[at + 1..at + 5].try_into().unwrap()) as usize;
    let end = 5 + length(0);
    assert_eq!((body[0], body[end]), (0, 0x80));
    (body.slice(5..end), String::from_utf8(body[end + 5..end + 5 + length(end)].to_vec()).unwrap())
}

#[tokio::test]
async fn probes_tell_life_from_readiness() {
    let gateway = Gateway::start().await;
    let becomes = async |expected: u16| {
        eventually(GENEROUS, || async {
            let ready = Call::get(&gateway, "/readyz").send().await.status.as_u16();
            if ready == expected { Ok(()) } else { Err(ready.to_string()) }
        })
        .await;
    };
    becomes(200).await;
    gateway.store.down.store(true, SeqCst);
    becomes(503).await;
    assert_eq!(Call::get(&gateway, "/healthz").send().await.status, 200);
    gateway.store.down.store(false, SeqCst);
    becomes(200).await;
}
