//! Connections, health, reflection, errors below the methods, and the end.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use futures::{StreamExt, stream};
use longshore_gateway::Settings;
use longshore_proto::longrunning::{GetOperationRequest, WaitOperationRequest};
use longshore_testkit::eventually;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, client::Grpc};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    harness::{GENEROUS, Gateway, reason},
    http::client::Call,
};

async fn health(gateway: &Gateway, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(gateway.channel.clone()).check(request).await.unwrap().into_inner().status()
}

async fn becomes(gateway: &Gateway, service: &str, expected: ServingStatus) {
    eventually(GENEROUS, || async {
        let status = health(gateway, service).await;
        if status == expected { Ok(()) } else { Err(format!("{service:?} is {status:?}")) }
    })
    .await;
}

#[tokio::test]
async fn health_follows_the_store() {
    let gateway = Gateway::start().await;
    for service in ["", "google.longrunning.Operations", "longshore.v1.Jobs"] {
        becomes(&gateway, service, ServingStatus::Serving).await;
    }
    gateway.store.down.store(true, SeqCst);
    becomes(&gateway, "", ServingStatus::NotServing).await;
    gateway.store.down.store(false, SeqCst);
    becomes(&gateway, "", ServingStatus::Serving).await;
}

#[tokio::test]
async fn readiness_does_not_need_the_bus() {
    let gateway = Gateway::start().await;
    becomes(&gateway, "", ServingStatus::Serving).await;
    gateway.bus.status.send_modify(|status| status.ready = false);
    gateway.store.down.store(true, SeqCst);
    becomes(&gateway, "", ServingStatus::NotServing).await;
    gateway.store.down.store(false, SeqCst);
    becomes(&gateway, "", ServingStatus::Serving).await;
    assert!(!gateway.bus.status.borrow().ready);
}

#[tokio::test]
async fn liveness_does_not_need_the_store() {
    let gateway = Gateway::start().await;
    gateway.store.stalled.store(true, SeqCst);
    becomes(&gateway, "", ServingStatus::NotServing).await;
    assert_eq!(Call::get(&gateway, "/readyz").send().await.status, 503);
    assert_eq!(Call::get(&gateway, "/healthz").send().await.status, 200);
}

#[tokio::test]
async fn reflection_describes_what_is_served_and_nothing_internal() {
    use tonic_reflection::pb::{v1, v1alpha};
    let gateway = Gateway::start().await;
    let expected = ["google.longrunning.Operations", "grpc.health.v1.Health", "longshore.v1.Jobs"];

    let request = v1::ServerReflectionRequest {
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
        ..Default::default()
    };
    let mut client =
        v1::server_reflection_client::ServerReflectionClient::new(gateway.channel.clone());
    let mut answers =
        client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<&str> = list.service.iter().map(|service| &*service.name).collect();
    assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("internal")), "{names:?}");

    let request = v1alpha::ServerReflectionRequest {
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
                "longshore.v1.RunJobRequest".to_owned(),
            ),
        ),
        ..Default::default()
    };
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(gateway.channel.clone());
    let mut answers =
        client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    assert!(
        matches!(
            answer,
            v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_)
        ),
        "{answer:?}"
    );
}

#[tokio::test]
async fn errors_below_the_methods_have_an_error_info_too() {
    let gateway = Gateway::start().await;
    let mut client = Grpc::new(gateway.channel.clone());
    for path in ["/google.longrunning.Operations/NoSuchMethod", "/no.such.Service/Method"] {
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<GetOperationRequest, ()>::default();
        let request = Request::new(GetOperationRequest::default());
        let refused = client.unary(request, path.parse().unwrap(), codec).await.unwrap_err();
        assert_eq!(
            (refused.code(), &*reason(&refused)),
            (Code::Unimplemented, "MALFORMED_CALL"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let gateway = Gateway::start().await;
    let request = GetOperationRequest { name: "x".repeat(3 << 20) };
    let refused = gateway.operations().get_operation(request).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::OutOfRange, "MALFORMED_CALL"));
}

#[tokio::test]
async fn settings_out_of_bounds_stop_the_start() {
    let gateway = Gateway::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = Settings { max_page_size: 0, ..Settings::default() };
    let ledger = gateway.ledger.clone();
    longshore_gateway::serve(listener, settings, ledger, CancellationToken::new())
        .await
        .unwrap_err();
}

/// Whoever started it sees that, and starts it again.
#[tokio::test]
async fn a_gateway_of_which_a_part_panics_ends() {
    let gateway = Gateway::start().await;
    gateway.bus.broken.store(true, SeqCst);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (settings, ledger) = (Settings::default(), gateway.ledger.clone());
    let serve = longshore_gateway::serve(listener, settings, ledger, CancellationToken::new());
    let ended = tokio::time::timeout(GENEROUS, tokio::spawn(serve)).await.unwrap();
    assert!(ended.unwrap_err().is_panic());
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let mut settings = Settings::default();
    settings.http.first_byte_timeout = Duration::from_millis(50);
    let gateway = Gateway::start_with(settings).await;
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    assert_eq!(tokio::time::timeout(GENEROUS, silent.read(&mut [0])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn an_old_connection_finishes_its_calls_and_is_replaced() {
    let mut settings = Settings::default();
    settings.http.max_connection_age = Duration::from_millis(200);
    let gateway = Gateway::start_with(settings).await;
    let name = gateway.run("").await;
    let timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let request = WaitOperationRequest { name: name.clone(), timeout };
    gateway.operations().wait_operation(request).await.unwrap();
    // A call that the client hands to a connection in the moment in which it closes is cancelled
    // by the client itself.
    eventually(GENEROUS, || gateway.get(&name)).await;
}

#[tokio::test]
async fn the_bounds_of_a_connection_are_told_to_the_peer() {
    let gateway = Gateway::start().await;
    let mut raw = TcpStream::connect(gateway.address).await.unwrap();
    raw.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    raw.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "a SETTINGS frame");
    let mut body = vec![0; usize::from(head[2])];
    raw.read_exact(&mut body).await.unwrap();
    let settings: Vec<(u16, u32)> = body
        .chunks(6)
        .map(|entry| {
            let value = [entry[2], entry[3], entry[4], entry[5]];
            (u16::from_be_bytes([entry[0], entry[1]]), u32::from_be_bytes(value))
        })
        .collect();
    // MAX_CONCURRENT_STREAMS and MAX_HEADER_LIST_SIZE.
    assert!(settings.contains(&(3, 1000)) && settings.contains(&(6, 16 << 10)), "{settings:?}");
}

/// The kinds of HTTP/2 frames.
fn frames(mut bytes: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    while let Some((&[a, b, c, kind, ..], rest)) = bytes.split_first_chunk::<9>() {
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        frames.push(kind);
        bytes = rest.get(length..).unwrap_or_default();
    }
    frames
}

#[tokio::test]
async fn a_peer_that_provokes_resets_without_end_is_cut_off() {
    let gateway = Gateway::start().await;
    let mut raw = TcpStream::connect(gateway.address).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // `:method POST`, `:scheme http`, `:path /`, and then a window that overflows.
    for stream in (1..20_000_u32).step_by(2) {
        bytes.extend([0, 0, 3, 1, 4]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend([0x83, 0x86, 0x84]);
        for _ in 0..2 {
            bytes.extend([0, 0, 4, 8, 0]);
            bytes.extend(stream.to_be_bytes());
            bytes.extend(0x7fff_ffff_u32.to_be_bytes());
        }
    }
    let (mut from, mut to) = raw.split();
    let attack = async {
        // It is cut off in the middle of it.
        drop(to.write_all(&bytes).await);
    };
    let answers = async {
        let mut answers = Vec::new();
        drop(from.read_to_end(&mut answers).await);
        answers
    };
    let (answers, ()) =
        tokio::time::timeout(GENEROUS, async { tokio::join!(answers, attack) }).await.unwrap();
    let resets = frames(&answers).into_iter().filter(|kind| *kind == 3).count();
    assert!(resets < 2000, "{resets} of 10,000 provoked resets");
    gateway.run("").await;
}

#[tokio::test]
async fn whoever_watches_the_health_does_not_hold_up_the_end() {
    let gateway = Gateway::start().await;
    let request = HealthCheckRequest { service: String::new() };
    let mut states =
        HealthClient::new(gateway.channel.clone()).watch(request).await.unwrap().into_inner();
    while states.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    gateway.shutdown.cancel();
    assert_eq!(states.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(states.message().await.unwrap().is_none());
    let before_the_grace_ends = Settings::default().shutdown_grace / 2;
    tokio::time::timeout(before_the_grace_ends, gateway.served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn whoever_asks_for_descriptions_does_not_hold_up_the_end() {
    use tonic_reflection::pb::v1;
    let gateway = Gateway::start().await;
    let request = v1::ServerReflectionRequest {
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
        ..Default::default()
    };
    // A client that has asked, and could ask more.
    let questions = stream::iter([request]).chain(stream::pending());
    let mut client =
        v1::server_reflection_client::ServerReflectionClient::new(gateway.channel.clone());
    let mut answers = client.server_reflection_info(questions).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    gateway.shutdown.cancel();
    let before_the_grace_ends = Settings::default().shutdown_grace / 2;
    tokio::time::timeout(before_the_grace_ends, gateway.served).await.unwrap().unwrap().unwrap();
    assert!(answers.message().await.unwrap().is_none(), "it ends well");
}

#[tokio::test]
async fn the_end_begins_with_not_being_ready() {
    let settings = Settings { shutdown_delay: Duration::from_secs(3600), ..Settings::default() };
    let gateway = Gateway::start_with(settings).await;
    let name = gateway.run("").await;
    becomes(&gateway, "", ServingStatus::Serving).await;
    let mut operations = gateway.operations();
    let request = WaitOperationRequest { name: name.clone(), timeout: None };
    let waiting = tokio::spawn(async move { operations.wait_operation(request).await });
    gateway.shutdown.cancel();
    becomes(&gateway, "", ServingStatus::NotServing).await;
    // Whoever has not noticed yet is served, on old connections and new ones.
    gateway.get(&name).await.unwrap();
    TcpStream::connect(gateway.address).await.unwrap();
    gateway.complete(&name).await;
    assert!(waiting.await.unwrap().unwrap().into_inner().done);
}

#[tokio::test]
async fn the_end_closes_the_port_and_idle_connections() {
    let gateway = Gateway::start().await;
    gateway.run("").await;
    gateway.shutdown.cancel();
    tokio::time::timeout(GENEROUS, gateway.served).await.unwrap().unwrap().unwrap();
    TcpStream::connect(gateway.address).await.unwrap_err();
}

#[tokio::test]
async fn what_does_not_finish_in_the_grace_is_cut() {
    let settings = Settings { shutdown_grace: Duration::from_millis(100), ..Settings::default() };
    let gateway = Gateway::start_with(settings).await;
    // It says hello and then nothing, so its connection has no end of its own.
    let mut half = TcpStream::connect(gateway.address).await.unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    gateway.shutdown.cancel();
    tokio::time::timeout(GENEROUS, gateway.served).await.unwrap().unwrap().unwrap();
}
