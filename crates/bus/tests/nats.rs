//! The bus on NATS does what every bus does, on a real server.

use std::sync::Arc;

use longshore_bus::{
    Bus, conformance,
    nats::{NatsBus, Settings},
};
use longshore_testkit::NatsServer;

async fn with_bus<F: Future<Output = ()>>(test: impl FnOnce(Arc<dyn Bus>) -> F) {
    let server = NatsServer::start().await;
    let settings = Settings { url: server.url(), ..Settings::default() };
    let bus = NatsBus::connect(&settings).await.expect("the server is there");
    test(Arc::new(bus)).await;
}

#[tokio::test]
async fn subscriptions() {
    with_bus(conformance::subscriptions).await;
}

#[tokio::test]
async fn requests() {
    with_bus(conformance::requests).await;
}

#[tokio::test]
async fn traces() {
    with_bus(conformance::traces).await;
}

#[tokio::test]
async fn stored() {
    with_bus(conformance::stored).await;
}

#[tokio::test]
async fn events() {
    with_bus(conformance::events).await;
}

#[tokio::test]
async fn given_back() {
    with_bus(conformance::given_back).await;
}

#[tokio::test]
async fn shared() {
    with_bus(conformance::shared).await;
}

#[tokio::test]
async fn priorities() {
    with_bus(conformance::priorities).await;
}

#[tokio::test]
async fn together() {
    with_bus(conformance::together).await;
}

#[tokio::test]
async fn surplus() {
    with_bus(conformance::surplus).await;
}

#[tokio::test]
async fn dropped_calls() {
    with_bus(conformance::dropped_calls).await;
}

#[tokio::test]
async fn oldest() {
    with_bus(conformance::oldest).await;
}

#[tokio::test]
async fn depths() {
    with_bus(conformance::depths).await;
}

#[tokio::test]
async fn large() {
    with_bus(conformance::large).await;
}

#[tokio::test]
async fn status() {
    with_bus(conformance::status).await;
}
