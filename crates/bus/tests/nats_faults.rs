//! The bus on NATS goes on by itself after whatever happens to the server.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{sync::Arc, time::Duration};

use longshore_bus::{
    Bus, Consumer, Error, Message, Subscription, Work,
    conformance::{drain, hint, next, nothing_comes, queue},
    nats::{NatsBus, Settings},
    subjects,
};
use longshore_proto::v1::Priority;
use longshore_testkit::{NatsCluster, NatsServer, eventually};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);
/// A ceiling for the election of a leader, on a machine under load.
const ELECTION: Duration = Duration::from_secs(180);
/// Longer than a delivery stays unsettled.
const SETTLED: Duration = Duration::from_secs(3);

/// The bus on a cluster, each stream on all three servers.
async fn connect_replicated(cluster: &NatsCluster) -> Arc<dyn Bus> {
    let ack_wait = Duration::from_secs(1);
    let settings = Settings { url: cluster.url(), replicas: 3, ack_wait, ..Settings::default() };
    Arc::new(eventually(ELECTION, || NatsBus::connect(&settings)).await)
}

async fn connect(server: &NatsServer) -> Arc<dyn Bus> {
    // What was on its way to somebody when the server was killed should come again soon.
    let ack_wait = Duration::from_secs(1);
    let settings = Settings { url: server.url(), ack_wait, ..Settings::default() };
    Arc::new(NatsBus::connect(&settings).await.unwrap())
}

/// What a party does with the bus, all of it.
struct Party {
    bus: Arc<dyn Bus>,
    hints: Box<dyn Consumer>,
    events: Box<dyn Consumer>,
    changes: Box<dyn Subscription>,
}

impl Party {
    async fn join(server: &NatsServer) -> Self {
        Self::of(connect(server).await).await
    }

    async fn of(bus: Arc<dyn Bus>) -> Self {
        let hints = bus.consume(Work::Hints(queue())).await.unwrap();
        let events = bus.consume(Work::Events).await.unwrap();
        let changes = bus.subscribe("ls.changed", None).await.unwrap();
        Self { bus, hints, events, changes }
    }

    /// Sends as the roles do: again until it succeeds.
    async fn enqueue(&self, message: Message) {
        eventually(SOON, || async {
            self.bus.enqueue(message.clone()).await.map_err(|e| format!("{e:?}"))
        })
        .await;
    }

    /// Everything works, whatever was before.
    async fn works(&mut self, round: &str) {
        for priority in longshore_bus::subjects::PRIORITIES {
            self.enqueue(hint(priority, round)).await;
        }
        self.enqueue(event(round)).await;
        // What was sent twice comes twice; what was sent in another round is not expected.
        for consumer in [&mut self.hints, &mut self.events] {
            // What was acknowledged in vain comes again. A cluster elects a leader for each consumer
            // first, and may lose what was stored meanwhile: it is sent again, as the roles do.
            let came = async {
                while timeout(SETTLED, taken(consumer, round)).await.is_err() {
                    for message in [hint(Priority::Normal, round), event(round)] {
                        self.bus.enqueue(message).await.ok();
                    }
                }
            };
            timeout(ELECTION, came).await.unwrap();
            while let Ok(Some(batch)) = timeout(Duration::from_millis(200), consumer.next(9)).await
            {
                for delivery in batch {
                    delivery.handle.ack().await.unwrap();
                }
            }
        }
        let published = async {
            loop {
                self.bus.publish(Message::new("ls.changed", round.to_owned())).await.ok();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let heard = async { while self.changes.next().await.unwrap().message.payload != round {} };
        tokio::select! {
            () = published => {}
            heard = timeout(SOON, heard) => heard.unwrap(),
        }
    }
}

fn event(text: &str) -> Message {
    Message::new("ls.event.0", text.to_owned())
}

/// Takes messages until this one comes.
async fn taken(consumer: &mut Box<dyn Consumer>, text: &str) {
    loop {
        for delivery in consumer.next(1).await.unwrap() {
            let is_it = delivery.message.payload == text;
            // It comes again if the acknowledgement is lost.
            delivery.handle.ack().await.ok();
            if is_it {
                return;
            }
        }
    }
}

async fn is_ready(bus: &Arc<dyn Bus>, ready: bool) -> String {
    let mut status = bus.status();
    let found = timeout(SOON, status.wait_for(|status| status.ready == ready)).await.unwrap();
    found.unwrap().epoch.clone()
}

/// A server that makes a stream tells others who make it too, at the same time, that it overlaps, or
/// is another one.
#[tokio::test(flavor = "multi_thread")]
async fn many_make_the_streams_at_the_same_time() {
    let server = NatsServer::start().await;
    let settings = Settings { url: server.url(), ..Settings::default() };
    let admin = async_nats::connect(server.url()).await.unwrap();
    for _ in 0..50 {
        let roles = (0..40).map(|number| {
            // Some have been configured otherwise: whose stream it is that is made does not matter.
            let jobs_max_bytes = (number % 2 == 0).then_some(1 << 30);
            let settings = Settings { jobs_max_bytes, ..settings.clone() };
            tokio::spawn(async move { NatsBus::connect(&settings).await.map(drop) })
        });
        for role in roles.collect::<Vec<_>>() {
            role.await.unwrap().unwrap();
        }
        for stream in [subjects::JOBS_STREAM, subjects::EVENTS_STREAM] {
            let delete = format!("$JS.API.STREAM.DELETE.{stream}");
            admin.request(delete, "".into()).await.unwrap();
        }
    }
}

/// The subjects are taken by a stream that is not ours: that is said, and nothing waits for ever.
#[tokio::test]
async fn a_foreign_stream_with_our_subjects_is_refused() {
    let server = NatsServer::start().await;
    let admin = async_nats::connect(server.url()).await.unwrap();
    let body = format!(r#"{{"name":"FOREIGN","subjects":["{}"]}}"#, subjects::JOBS);
    admin.request("$JS.API.STREAM.CREATE.FOREIGN", body.into()).await.unwrap();
    let settings = Settings { url: server.url(), ..Settings::default() };
    let error = NatsBus::connect(&settings).await.err().unwrap();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(format!("{error:?}").contains("subjects overlap"), "{error:?}");
}

#[tokio::test]
async fn a_restart_is_survived() {
    let mut server = NatsServer::start().await;
    let mut party = Party::join(&server).await;
    party.works("before").await;
    let epoch = is_ready(&party.bus, true).await;
    party.bus.enqueue(hint(Priority::Normal, "kept")).await.unwrap();

    server.kill();
    is_ready(&party.bus, false).await;
    let error = party.bus.publish(Message::new("ls.changed", "lost")).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    let error = party.bus.enqueue(hint(Priority::Normal, "lost")).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    let error = party.bus.subscribe("ls.changed", None).await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");

    server.restart().await;
    assert_eq!(is_ready(&party.bus, true).await, epoch);
    assert_eq!(drain(&mut party.hints, 1).await, ["kept"]);
    party.works("after").await;
}

#[tokio::test]
async fn a_wiped_storage_is_made_anew() {
    let mut server = NatsServer::start().await;
    let mut parties = [Party::join(&server).await, Party::join(&server).await];
    let epoch = is_ready(&parties[0].bus, true).await;
    parties[0].bus.enqueue(hint(Priority::Normal, "wiped")).await.unwrap();
    for round in ["first", "second"] {
        server.kill();
        for party in &parties {
            is_ready(&party.bus, false).await;
        }
        server.wipe_and_restart().await;
        let first = is_ready(&parties[0].bus, true).await;
        assert_ne!(first, epoch);
        assert_eq!(is_ready(&parties[1].bus, true).await, first);
        // Each alone, as either may get what was sent by the other.
        let [one, other] = parties;
        drop(other);
        let mut one = one;
        one.works(round).await;
        parties = [one, Party::join(&server).await];
    }
}

/// Another leader is the same storage: nobody is to look for lost hints.
#[tokio::test]
async fn a_lost_leader_is_replaced() {
    let mut cluster = NatsCluster::start().await;
    let mut party = Party::of(connect_replicated(&cluster).await).await;
    party.works("before").await;
    let mut epochs = party.bus.status();
    let epoch = is_ready(&party.bus, true).await;
    for round in ["first", "second"] {
        let leader =
            eventually(ELECTION, async || cluster.leader("LS_JOBS").await.ok_or("there is none"))
                .await;
        party.enqueue(hint(Priority::Normal, "kept")).await;
        cluster.servers[leader].kill();
        timeout(ELECTION, taken(&mut party.hints, "kept")).await.unwrap();
        party.works(round).await;
        cluster.servers[leader].restart().await;
        eventually(ELECTION, async || {
            let status = party.bus.status().borrow().clone();
            if status.ready { Ok(()) } else { Err("it is not ready") }
        })
        .await;
        assert_eq!(epochs.borrow_and_update().epoch, epoch);
    }
    // All of them at once.
    for server in &mut cluster.servers {
        server.kill();
    }
    is_ready(&party.bus, false).await;
    let restarts = cluster.servers.iter_mut().map(NatsServer::restart);
    futures::future::join_all(restarts).await;
    let status = party.bus.status();
    eventually(
        ELECTION,
        async || {
            if status.borrow().ready { Ok(()) } else { Err("it is not ready") }
        },
    )
    .await;
    assert_eq!(status.borrow().epoch, epoch);
    party.works("after").await;
}

#[tokio::test]
async fn deleted_streams_and_consumers_are_made_anew() {
    let server = NatsServer::start().await;
    let mut party = Party::join(&server).await;
    let admin = async_nats::connect(server.url()).await.unwrap();
    let epoch = is_ready(&party.bus, true).await;
    let name = queue();
    for (round, subject) in [
        ("consumer", format!("$JS.API.CONSUMER.DELETE.LS_JOBS.{name}-normal")),
        ("recorder", "$JS.API.CONSUMER.DELETE.LS_EVENTS.recorder".to_owned()),
        ("jobs", "$JS.API.STREAM.DELETE.LS_JOBS".to_owned()),
        ("events", "$JS.API.STREAM.DELETE.LS_EVENTS".to_owned()),
    ] {
        party.works(&format!("before {round}")).await;
        // Also while somebody waits.
        assert!(timeout(Duration::from_millis(20), party.hints.next(1)).await.is_err());
        let answer = admin.request(subject, "".into()).await.unwrap();
        assert!(answer.payload.ends_with(br#""success":true}"#), "{answer:?}");
        party.works(&format!("after {round}")).await;
    }
    assert_ne!(is_ready(&party.bus, true).await, epoch);
}

#[tokio::test]
async fn a_frozen_server_keeps_nobody_waiting() {
    let server = NatsServer::start().await;
    let mut party = Party::join(&server).await;
    let _serving = party.bus.subscribe("ls.rpc.claim", Some("g")).await.unwrap();
    server.freeze();
    let error = party
        .bus
        .request(Message::new("ls.rpc.claim", ""), Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    server.thaw();
    party.works("thawed").await;
}

#[tokio::test]
async fn what_is_not_settled_comes_again() {
    let server = NatsServer::start().await;
    let ack_wait = Duration::from_millis(300);
    let settings = Settings { url: server.url(), ack_wait, ..Settings::default() };
    let bus = NatsBus::connect(&settings).await.unwrap();
    let mut consumer = bus.consume(Work::Hints(queue())).await.unwrap();
    bus.enqueue(hint(Priority::Normal, "again")).await.unwrap();
    drop(next(&mut consumer, 1).await);
    nothing_comes(&mut consumer).await;
    assert_eq!(drain(&mut consumer, 1).await, ["again"]);
}

#[tokio::test]
async fn a_full_stream_says_so() {
    let server = NatsServer::start().await;
    let settings =
        Settings { url: server.url(), jobs_max_bytes: Some(10_000), ..Settings::default() };
    let bus = NatsBus::connect(&settings).await.unwrap();
    let large = "x".repeat(6_000);
    bus.enqueue(hint(Priority::Normal, &large)).await.unwrap();
    let error = bus.enqueue(hint(Priority::Normal, &large)).await.unwrap_err();
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    bus.enqueue(Message::new("ls.event.0", large)).await.unwrap();
    let too_large = bus.enqueue(Message::new("ls.event.0", vec![0; 2_000_000])).await.unwrap_err();
    assert!(matches!(too_large, Error::Refused { .. }), "{too_large:?}");
}

#[tokio::test]
async fn who_is_not_let_in_is_told() {
    let server = NatsServer::start_configured("authorization { user: me, password: secret }").await;
    let refused = |url| async {
        let settings = Settings { url, ..Settings::default() };
        NatsBus::connect(&settings).await.map(drop).unwrap_err()
    };
    let error = refused(server.url()).await;
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    let url = server.url().replace("nats://", "nats://me:secret@");
    let settings = Settings { url: format!("nats://127.0.0.1:1, {url}"), ..Settings::default() };
    NatsBus::connect(&settings).await.unwrap();
    let error = refused("nats://127.0.0.1:1".to_owned()).await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_closed_bus_ends_its_consumers_and_subscriptions() {
    let server = NatsServer::start().await;
    let mut party = Party::join(&server).await;
    drop(party.bus);
    assert!(timeout(SOON, party.hints.next(1)).await.unwrap().is_none());
    assert!(timeout(SOON, party.changes.next()).await.unwrap().is_none());
}

/// A server that is killed may find acknowledged messages again, as it writes what is stored and what
/// is acknowledged at different times.
#[tokio::test]
async fn what_a_server_has_forgotten_to_remove_is_removed() {
    let mut server = NatsServer::start().await;
    let mut party = Party::join(&server).await;
    let subject = hint(Priority::Normal, "").subject;
    for number in 0..5 {
        party.enqueue(hint(Priority::Normal, number)).await;
        party.enqueue(event("done with")).await;
    }
    server.terminate().await;
    let kept =
        |stream: &str| server.dir().join("data/jetstream/$G/streams").join(stream).join("msgs");
    let stored = ["LS_JOBS", "LS_EVENTS"].map(|stream| {
        let files = std::fs::read_dir(kept(stream)).unwrap().map(|file| file.unwrap().path());
        files.map(|file| (file.clone(), std::fs::read(file).unwrap())).collect::<Vec<_>>()
    });

    server.restart().await;
    is_ready(&party.bus, true).await;
    drain(&mut party.hints, 5).await;
    drain(&mut party.events, 5).await;
    let floor = r#""ack_floor":{"consumer_seq":5"#;
    for consumer in [format!("LS_JOBS.{}-normal", queue()), "LS_EVENTS.recorder".to_owned()] {
        eventually(SOON, async || {
            let info = server.request(&format!("$JS.API.CONSUMER.INFO.{consumer}"), "").await;
            let info = info.map_err(|error| error.to_string())?;
            if info.contains(floor) { Ok(()) } else { Err(info) }
        })
        .await;
    }
    server.terminate().await;
    for (file, content) in stored.into_iter().flatten() {
        std::fs::write(file, content).unwrap();
    }
    server.restart().await;

    let forgotten = async |subject: &str| {
        eventually(SOON, async || match party.bus.oldest(subject).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    };
    forgotten(&subject).await;
    forgotten(longshore_bus::subjects::EVENTS).await;
    for stream in ["LS_JOBS", "LS_EVENTS"] {
        let info = server.request(&format!("$JS.API.STREAM.INFO.{stream}"), "").await.unwrap();
        assert!(info.contains("\"messages\":0"), "{info}");
    }
    party.works("after").await;
}
