//! The ledger on a real bus that goes and comes back.

use std::{sync::Arc, time::Duration};

use longshore_bus::{
    Bus, Work,
    nats::{NatsBus, Settings},
};
use longshore_core::lifecycle::{Input, Rules, Submit};
use longshore_proto::internal::Hint;
use longshore_state::{embedded::EmbeddedStore, ledger::Ledger};
use longshore_testkit::NatsServer;
use prost::Message;
use tokio::time::timeout;

use super::redis::new;

/// A ceiling for what happens by itself.
const SOON: Duration = Duration::from_secs(60);

/// Nobody fires timers here: the hint comes by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hint_that_could_not_be_sent_is_sent_when_the_bus_is_back() {
    let mut nats = NatsServer::start().await;
    let settings = Settings { url: nats.url(), ..Settings::default() };
    let bus: Arc<dyn Bus> = Arc::new(NatsBus::connect(&settings).await.unwrap());
    let store = Arc::new(EmbeddedStore::in_memory().unwrap());
    let ledger = Ledger::new(store, bus.clone(), Rules::default());
    let record = new();
    let mut hints = bus.consume(Work::Hints(record.job.job_type.clone())).await.unwrap();

    nats.kill();
    let mut status = bus.status();
    timeout(SOON, status.wait_for(|status| !status.ready)).await.unwrap().unwrap();
    let submit =
        Submit { id: record.id.clone(), parent: record.parent.clone(), job: record.job.clone() };
    let applied = ledger.apply(record.id.clone(), Input::Submit(Box::new(submit))).await.unwrap();
    ledger.perform(&applied).await;
    nats.restart().await;

    let batch = timeout(SOON, hints.next(1)).await.unwrap().unwrap();
    let hint = Hint::decode(batch[0].message.payload.clone()).unwrap();
    assert_eq!(hint.id, record.id.to_string());
}
