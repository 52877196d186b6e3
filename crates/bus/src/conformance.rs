//! What every [`Bus`] does, as tests: each function wants a bus of its own and panics if it
//! behaves otherwise.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use longshore_core::{names::JobType, record::TraceContext};
use longshore_proto::v1::Priority;
use tokio::time::timeout;

use crate::{Bus, Consumer, Delivery, Error, Message, Subscription, Work, subjects};

/// A ceiling for what should happen at once; below the 30 s after which a delivery comes again.
const SOON: Duration = Duration::from_secs(20);
/// How long it is watched that something does not happen.
const WHILE: Duration = Duration::from_millis(100);

/// A queue for tests.
pub fn queue() -> JobType {
    JobType::parse("Resize-image_2").unwrap()
}

/// A hint on [`queue`].
#[expect(clippy::needless_pass_by_value, reason = "calls are easier to read so")]
pub fn hint(priority: Priority, text: impl ToString) -> Message {
    Message::new(subjects::job(&queue(), priority), text.to_string())
}

/// Takes a batch.
pub async fn next(consumer: &mut Box<dyn Consumer>, max: usize) -> Vec<Delivery> {
    let batch =
        timeout(SOON, consumer.next(max)).await.expect("something comes").expect("the bus is open");
    assert!((1..=max).contains(&batch.len()), "{} of {max} were handed out", batch.len());
    batch
}

/// Takes batches until there are so many payloads, and acknowledges them.
pub async fn drain(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        for delivery in next(consumer, count).await {
            texts.push(text(&delivery.message.payload));
            delivery.handle.ack().await.unwrap();
        }
    }
    texts
}

/// Watches that nothing is handed out.
pub async fn nothing_comes(consumer: &mut Box<dyn Consumer>) {
    if let Ok(batch) = timeout(WHILE, consumer.next(10)).await {
        let texts: Vec<_> = batch.into_iter().flatten().map(|d| text(&d.message.payload)).collect();
        panic!("{texts:?} came");
    }
}

fn text(payload: &Bytes) -> String {
    String::from_utf8(payload.to_vec()).unwrap()
}

async fn hear(subscription: &mut Box<dyn Subscription>) -> String {
    let incoming = timeout(SOON, subscription.next()).await.expect("something comes").unwrap();
    text(&incoming.message.payload)
}

/// Subscribers get what matches from the moment they are subscribed; those of a group share it.
pub async fn subscriptions(bus: Arc<dyn Bus>) {
    let mut exact = bus.subscribe("t.a.1", None).await.unwrap();
    let mut star = bus.subscribe("t.*.1", None).await.unwrap();
    let mut rest = bus.subscribe("t.>", None).await.unwrap();
    let mut group = Vec::new();
    for _ in 0..2 {
        group.push(bus.subscribe("t.>", Some("g")).await.unwrap());
    }
    for (subject, payload) in [("t.a.1", "one"), ("t.b.1", "two"), ("t.b", "three"), ("u", "four")]
    {
        bus.publish(Message::new(subject, payload)).await.unwrap();
    }
    bus.publish(Message::new("t.a.1", "end")).await.unwrap();
    assert_eq!([hear(&mut exact).await, hear(&mut exact).await], ["one", "end"]);
    assert_eq!([hear(&mut star).await, hear(&mut star).await], ["one", "two"]);
    for expected in ["one", "two", "three", "end"] {
        assert_eq!(hear(&mut rest).await, expected);
    }
    let mut shared = BTreeSet::new();
    let (first, second) = group.split_at_mut(1);
    for _ in 0..4 {
        let heard = tokio::select! {
            heard = hear(&mut first[0]) => heard,
            heard = hear(&mut second[0]) => heard,
        };
        assert!(shared.insert(heard.clone()), "{heard} came twice");
    }
    drop((exact, star, rest, group));
    // Those that are gone are not waited for.
    bus.publish(Message::new("t.a.1", "late")).await.unwrap();
}

/// A request gets an answer; without a server it fails at once, with a silent one in time.
pub async fn requests(bus: Arc<dyn Bus>) {
    let ask = |within| bus.request(Message::new("t.rpc", "2"), within);
    let error = ask(SOON).await.unwrap_err();
    assert!(matches!(&error, Error::NoResponders { subject } if subject == "t.rpc"), "{error}");

    let mut server = bus.subscribe("t.rpc", Some("g")).await.unwrap();
    let serve = async {
        let incoming = server.next().await.unwrap();
        let answer = format!("{} and 2", text(&incoming.message.payload));
        incoming.reply.unwrap().send(answer.into()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(ask(SOON), serve);
    assert_eq!(answer.unwrap(), "2 and 2");

    let silent = async { server.next().await.unwrap() };
    let (answer, unanswered) = tokio::join!(ask(WHILE), silent);
    assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
    // Nobody minds an answer that comes too late.
    unanswered.reply.unwrap().send("late".into()).await.unwrap();
    drop(server);
}

/// A trace travels with what is published, requested and stored; none is none.
pub async fn traces(bus: Arc<dyn Bus>) {
    let trace = TraceContext {
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        tracestate: "a=1,b=2".to_owned(),
    };
    for trace in [trace, TraceContext::default()] {
        let with_trace = |message| Message { trace: trace.clone(), ..message };
        let mut subscription = bus.subscribe("t", None).await.unwrap();
        bus.publish(with_trace(Message::new("t", "published"))).await.unwrap();
        assert_eq!(
            subscription.next().await.unwrap().message,
            with_trace(Message::new("t", "published"))
        );
        let request = bus.request(with_trace(Message::new("t", "asked")), SOON);
        let serve = async {
            let incoming = subscription.next().await.unwrap();
            incoming.reply.unwrap().send("".into()).await.unwrap();
            incoming.message
        };
        let (answer, asked) = tokio::join!(request, serve);
        assert_eq!(answer.unwrap(), "");
        assert_eq!(asked, with_trace(Message::new("t", "asked")));
        bus.enqueue(with_trace(hint(Priority::Low, "stored"))).await.unwrap();
        let mut consumer = bus.consume(Work::Hints(queue())).await.unwrap();
        let batch = next(&mut consumer, 1).await;
        assert_eq!(batch[0].message, with_trace(hint(Priority::Low, "stored")));
        for delivery in batch {
            delivery.handle.ack().await.unwrap();
        }
    }
}

/// What is stored waits for a consumer and goes with the acknowledgement; queues are apart.
pub async fn stored(bus: Arc<dyn Bus>) {
    for text in ["1", "2", "3"] {
        bus.enqueue(hint(Priority::Normal, text)).await.unwrap();
    }
    let other = JobType::parse("Resize-image_2-high").unwrap();
    bus.enqueue(Message::new(subjects::job(&other, Priority::Normal), "other")).await.unwrap();
    let mut consumer = bus.consume(Work::Hints(queue())).await.unwrap();
    assert_eq!(drain(&mut consumer, 3).await, ["1", "2", "3"]);
    nothing_comes(&mut consumer).await;
    let mut consumer = bus.consume(Work::Hints(other)).await.unwrap();
    assert_eq!(drain(&mut consumer, 1).await, ["other"]);
}

/// Events of all partitions go to one consumer.
pub async fn events(bus: Arc<dyn Bus>) {
    let mut consumer = bus.consume(Work::Events).await.unwrap();
    for partition in 0..20 {
        bus.enqueue(Message::new(format!("ls.event.{partition}"), partition.to_string()))
            .await
            .unwrap();
    }
    let expected: Vec<_> = (0..20).map(|partition| partition.to_string()).collect();
    assert_eq!(drain(&mut consumer, 20).await, expected);
    nothing_comes(&mut consumer).await;
}

/// What is given back comes again: at once, or not before the delay is over.
pub async fn given_back(bus: Arc<dyn Bus>) {
    let mut consumer = bus.consume(Work::Hints(queue())).await.unwrap();
    bus.enqueue(hint(Priority::Normal, "again")).await.unwrap();
    for delay in [Duration::ZERO, 3 * WHILE] {
        for delivery in next(&mut consumer, 5).await {
            delivery.handle.give_back(delay).await.unwrap();
        }
        if !delay.is_zero() {
            nothing_comes(&mut consumer).await;
        }
    }
    assert_eq!(drain(&mut consumer, 1).await, ["again"]);
    assert_eq!(bus.oldest(&subjects::job(&queue(), Priority::Low)).await.unwrap(), None);
}

/// Two consumers of the same work share it, and nothing goes to both.
pub async fn shared(bus: Arc<dyn Bus>) {
    let priorities = subjects::PRIORITIES;
    share(&bus, Work::Hints(queue()), |number| hint(priorities[number % 3], number)).await;
    let event =
        |number: usize| Message::new(format!("ls.event.{}", number % 7), number.to_string());
    share(&bus, Work::Events, event).await;
}

async fn share(bus: &Arc<dyn Bus>, work: Work, message: impl Fn(usize) -> Message) {
    const COUNT: usize = 300;
    let mut first = bus.consume(work.clone()).await.unwrap();
    let mut second = bus.consume(work).await.unwrap();
    let produce = async {
        for number in 0..COUNT {
            bus.enqueue(message(number)).await.unwrap();
        }
    };
    let consume = async {
        let mut seen = BTreeSet::new();
        while seen.len() < COUNT {
            let batch = tokio::select! {
                batch = next(&mut first, 7) => batch,
                batch = next(&mut second, 3) => batch,
            };
            for delivery in batch {
                let text = text(&delivery.message.payload);
                assert!(seen.insert(text.clone()), "{text} came twice");
                delivery.handle.ack().await.unwrap();
            }
        }
    };
    tokio::join!(produce, consume);
}

/// What is stored together is there when that returns, each with its trace, in its order.
pub async fn together(bus: Arc<dyn Bus>) {
    let mut consumer = bus.consume(Work::Hints(queue())).await.unwrap();
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    let trace = TraceContext { traceparent, tracestate: String::new() };
    for count in [0, 1, 2, 100] {
        let mut hints: Vec<Message> = (0..count).map(|it| hint(Priority::Normal, it)).collect();
        if let Some(middle) = hints.get_mut(count / 2) {
            middle.trace = trace.clone();
        }
        bus.enqueue_all(&hints).await.unwrap();
        let depths = bus.depths().await.unwrap();
        assert_eq!(depths.values().sum::<u64>(), count as u64, "{depths:?}");
        let mut came = Vec::new();
        while came.len() < count {
            for delivery in next(&mut consumer, count).await {
                came.push(delivery.message.clone());
                delivery.handle.ack().await.unwrap();
            }
        }
        assert_eq!(came, hints);
        none_left(&bus).await;
    }
}

/// Waits until what was acknowledged is gone: nobody is told when that is.
async fn none_left(bus: &Arc<dyn Bus>) {
    let gone = async {
        while bus.depths().await.unwrap().values().any(|depth| *depth > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, gone).await.expect("what is acknowledged is removed");
}

/// Hints of a higher priority come first, in one batch as well as one by one.
pub async fn priorities(bus: Arc<dyn Bus>) {
    let mut consumer = bus.consume(Work::Hints(queue())).await.unwrap();
    for max in [1, 4, 9] {
        for priority in [Priority::Low, Priority::High, Priority::Normal] {
            for number in 0..3 {
                bus.enqueue(hint(priority, format!("{} {number}", subjects::token(priority))))
                    .await
                    .unwrap();
            }
        }
        let mut seen = Vec::new();
        while seen.len() < 9 {
            for delivery in next(&mut consumer, max).await {
                seen.push(text(&delivery.message.payload));
                delivery.handle.ack().await.unwrap();
            }
        }
        let expected: Vec<_> = ["high", "normal", "low"]
            .iter()
            .flat_map(|p| (0..3).map(move |n| format!("{p} {n}")))
            .collect();
        assert_eq!(seen, expected, "with at most {max} at a time");
    }
}

/// What comes beyond what is wanted is there for others, at once.
pub async fn surplus(bus: Arc<dyn Bus>) {
    let mut busy = bus.consume(Work::Hints(queue())).await.unwrap();
    for round in 0..3 {
        // It waits on all lanes and then gets one from each.
        let produce = async {
            tokio::time::sleep(WHILE / 4).await;
            for priority in subjects::PRIORITIES {
                bus.enqueue(hint(priority, format!("{round} {}", subjects::token(priority))))
                    .await
                    .unwrap();
            }
        };
        let (mut batch, ()) = tokio::join!(next(&mut busy, 1), produce);
        let mut seen = vec![text(&batch[0].message.payload)];
        let mut idle = bus.consume(Work::Hints(queue())).await.unwrap();
        seen.extend(drain(&mut idle, 2).await);
        seen.sort();
        assert_eq!(seen, ["high", "low", "normal"].map(|token| format!("{round} {token}")));
        batch.pop().unwrap().handle.ack().await.unwrap();
    }
}

/// A call that is dropped loses nothing, and keeps nothing from others.
pub async fn dropped_calls(bus: Arc<dyn Bus>) {
    let mut fickle = bus.consume(Work::Hints(queue())).await.unwrap();
    let mut patient = bus.consume(Work::Hints(queue())).await.unwrap();
    for number in 0..10 {
        assert!(timeout(WHILE / 10, fickle.next(4)).await.is_err(), "nothing was stored");
        bus.enqueue(hint(Priority::Normal, number)).await.unwrap();
        let consumer = if number % 2 == 0 { &mut patient } else { &mut fickle };
        assert_eq!(drain(consumer, 1).await, [number.to_string()]);
    }
    drop(fickle);
    bus.enqueue(hint(Priority::Normal, "last")).await.unwrap();
    assert_eq!(drain(&mut patient, 1).await, ["last"]);
}

/// The oldest of a subject is the first that has not been acknowledged, delivered or not.
pub async fn oldest(bus: Arc<dyn Bus>) {
    let subject = subjects::job(&queue(), Priority::Normal);
    assert_eq!(bus.oldest(&subject).await.unwrap(), None);
    for text in ["1", "2"] {
        bus.enqueue(hint(Priority::Normal, text)).await.unwrap();
    }
    bus.enqueue(hint(Priority::High, "other")).await.unwrap();
    assert_eq!(bus.oldest(&subject).await.unwrap().unwrap(), "1");
    let mut consumer = bus.consume(Work::Hints(queue())).await.unwrap();
    let batch = next(&mut consumer, 3).await;
    assert_eq!(bus.oldest(&subject).await.unwrap().unwrap(), "1");
    for delivery in batch {
        delivery.handle.ack().await.unwrap();
    }
    // The acknowledgement is on its way.
    let gone = timeout(SOON, async {
        while bus.oldest(&subject).await.unwrap().is_some_and(|found| found == "1") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    gone.await.unwrap();
    bus.enqueue(Message::new("ls.event.3", "event")).await.unwrap();
    assert_eq!(bus.oldest("ls.event.3").await.unwrap().unwrap(), "event");
    assert_eq!(bus.oldest("ls.event.4").await.unwrap(), None);
}

/// How many hints wait, by queue and priority.
pub async fn depths(bus: Arc<dyn Bus>) {
    assert_eq!(bus.depths().await.unwrap(), BTreeMap::new());
    for (priority, text) in
        [(Priority::Normal, "1"), (Priority::Normal, "2"), (Priority::High, "3")]
    {
        bus.enqueue(hint(priority, text)).await.unwrap();
    }
    bus.enqueue(Message::new("ls.event.3", "event")).await.unwrap();
    let normal = subjects::job(&queue(), Priority::Normal);
    let high = subjects::job(&queue(), Priority::High);
    let waiting = BTreeMap::from([(normal, 2), (high, 1)]);
    assert_eq!(bus.depths().await.unwrap(), waiting);
    let mut consumer = bus.consume(Work::Hints(queue())).await.unwrap();
    assert_eq!(drain(&mut consumer, 3).await.len(), 3);
    let gone = timeout(SOON, async {
        while !bus.depths().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    gone.await.unwrap();
}

/// Messages may be large.
pub async fn large(bus: Arc<dyn Bus>) {
    let payload = Bytes::from(vec![b'x'; 500_000]);
    let mut subscription = bus.subscribe("t", None).await.unwrap();
    bus.publish(Message::new("t", payload.clone())).await.unwrap();
    assert_eq!(subscription.next().await.unwrap().message.payload, payload);
    let mut consumer = bus.consume(Work::Events).await.unwrap();
    for _ in 0..4 {
        bus.enqueue(Message::new("ls.event.0", payload.clone())).await.unwrap();
    }
    for text in drain(&mut consumer, 4).await {
        assert_eq!(text.len(), payload.len());
    }
}

/// The bus says that it is ready.
pub async fn status(bus: Arc<dyn Bus>) {
    let status = bus.status().borrow().clone();
    assert!(status.ready);
    assert_ne!(status.epoch, "");
}
