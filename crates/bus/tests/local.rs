//! The bus within one process does what every bus does.

use std::{sync::Arc, time::Duration};

use longshore_bus::{
    Bus, Message, Work,
    conformance::{self, hint, next, nothing_comes, queue},
    local::LocalBus,
};
use longshore_proto::v1::Priority;

fn bus() -> Arc<dyn Bus> {
    Arc::new(LocalBus::new())
}

#[tokio::test]
async fn subscriptions() {
    conformance::subscriptions(bus()).await;
}

#[tokio::test]
async fn requests() {
    conformance::requests(bus()).await;
}

#[tokio::test]
async fn traces() {
    conformance::traces(bus()).await;
}

#[tokio::test]
async fn stored() {
    conformance::stored(bus()).await;
}

#[tokio::test]
async fn events() {
    conformance::events(bus()).await;
}

#[tokio::test]
async fn given_back() {
    conformance::given_back(bus()).await;
}

#[tokio::test]
async fn shared() {
    conformance::shared(bus()).await;
}

#[tokio::test]
async fn priorities() {
    conformance::priorities(bus()).await;
}

#[tokio::test]
async fn together() {
    conformance::together(bus()).await;
}

#[tokio::test]
async fn surplus() {
    conformance::surplus(bus()).await;
}

#[tokio::test]
async fn dropped_calls() {
    conformance::dropped_calls(bus()).await;
}

#[tokio::test]
async fn oldest() {
    conformance::oldest(bus()).await;
}

#[tokio::test]
async fn depths() {
    conformance::depths(bus()).await;
}

#[tokio::test]
async fn large() {
    conformance::large(bus()).await;
}

#[tokio::test]
async fn status() {
    conformance::status(bus()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_settled_comes_again() {
    let bus = bus();
    let mut consumer = bus.consume(Work::Hints(queue())).await.unwrap();
    bus.enqueue(hint(Priority::Normal, "again")).await.unwrap();
    let start = tokio::time::Instant::now();
    drop(next(&mut consumer, 1).await);
    nothing_comes(&mut consumer).await;
    let batch = consumer.next(1).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 30);
    // An acknowledgement still counts, however late.
    tokio::time::advance(Duration::from_secs(60)).await;
    for delivery in batch {
        delivery.handle.ack().await.unwrap();
    }
    nothing_comes(&mut consumer).await;
}

#[tokio::test]
async fn what_nobody_takes_does_not_fill_the_memory() {
    let bus = bus();
    let _subscription = bus.subscribe("t", None).await.unwrap();
    for _ in 0..10_000 {
        bus.publish(Message::new("t", "dropped")).await.unwrap();
    }
    for _ in 0..100_000 {
        bus.enqueue(hint(Priority::Normal, "stored")).await.unwrap();
    }
    let error = bus.enqueue(hint(Priority::Normal, "one too many")).await.unwrap_err();
    assert!(matches!(error, longshore_bus::Error::Refused { .. }), "{error}");
    bus.enqueue(hint(Priority::High, "another lane")).await.unwrap();
}
