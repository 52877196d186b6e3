//! A whole installation in this process: a store, a bus whose faults can be switched on, the state
//! role.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use longshore_bus::{
    Bus, Consumer, Error, Message, Status, Subscription, Work, local::LocalBus, subjects,
};
use longshore_core::{
    json,
    lifecycle::{Input, Rules, Submit},
    names::{JobType, OperationId, Parent},
    record::{Done, Job, Outcome, Record, Retry, State, TraceContext},
};
use longshore_proto::{
    internal::{Event, Events, event},
    rpc::Code,
    v1::Priority,
};
use longshore_state::{embedded::EmbeddedStore, ledger::Ledger, role};
use longshore_testkit::eventually;
use longshore_worker::{Settings, Worker};
use prost::Message as _;
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) struct Site {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) bus: Arc<Faulty>,
    _state: DropGuard,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(Rules::default())
    }

    pub(crate) fn with(rules: Rules) -> Self {
        let bus = Arc::new(Faulty::default());
        let store = Arc::new(EmbeddedStore::in_memory().unwrap());
        let ledger = Arc::new(Ledger::new(store, bus.clone(), rules));
        let shutdown = CancellationToken::new();
        let settings =
            role::Settings { timer_interval: Duration::from_millis(20), ..Default::default() };
        tokio::spawn(role::run(ledger.clone(), settings, shutdown.clone()));
        Self { ledger, bus, _state: shutdown.drop_guard() }
    }

    pub(crate) fn start(&self, worker: Worker) -> Started {
        self.start_with(worker, Settings::default())
    }

    pub(crate) fn start_with(&self, worker: Worker, settings: Settings) -> Started {
        let shutdown = CancellationToken::new();
        let bus = self.bus.clone();
        let task = tokio::spawn(worker.run(bus, settings, shutdown.clone()));
        Started { shutdown, task }
    }

    pub(crate) async fn submit(&self, job_type: &str, input: Value) -> OperationId {
        self.submit_with(job_type, input, |_| {}).await
    }

    pub(crate) async fn submit_with(
        &self,
        job_type: &str,
        input: Value,
        change: impl FnOnce(&mut Job),
    ) -> OperationId {
        let id = OperationId::random();
        let mut job = job(job_type, input);
        change(&mut job);
        let submit = Submit { id: id.clone(), parent: Parent::default(), job };
        let applied = self.ledger.apply(id.clone(), Input::Submit(Box::new(submit))).await.unwrap();
        self.ledger.perform(&applied).await;
        id
    }

    pub(crate) async fn cancel(&self, id: &OperationId) {
        let cancel = Input::Cancel { parent: Parent::default() };
        let applied = self.ledger.apply(id.clone(), cancel).await.unwrap();
        self.ledger.perform(&applied).await;
    }

    pub(crate) async fn record(&self, id: &OperationId) -> Record {
        let mut loaded = self.ledger.store().load(std::slice::from_ref(id)).await;
        loaded.pop().unwrap().unwrap().stored.unwrap().record
    }

    pub(crate) async fn until(&self, id: &OperationId, what: impl Fn(&Record) -> bool) -> Record {
        eventually(Duration::from_secs(30), || async {
            let record = self.record(id).await;
            if what(&record) { Ok(record) } else { Err(format!("{record:?}")) }
        })
        .await
    }

    pub(crate) async fn until_done(&self, id: &OperationId) -> Record {
        self.until(id, Record::is_done).await
    }
}

pub(crate) struct Started {
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), longshore_worker::Error>>,
}

impl Started {
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) fn settings() -> Settings {
    Settings { name: "tester".to_owned(), ..Settings::default() }
}

pub(crate) fn slots(slots: usize) -> Settings {
    Settings { slots: NonZeroUsize::new(slots), ..settings() }
}

fn job(job_type: &str, input: Value) -> Job {
    Job {
        job_type: JobType::parse(job_type).unwrap(),
        input: Some(json::response_from_json(input).unwrap()),
        labels: BTreeMap::new(),
        works_on: Vec::new(),
        priority: Priority::Normal,
        schedule_time: None,
        queue_timeout: None,
        run_timeout: None,
        ttl: Duration::from_secs(3600),
        retry: Retry {
            max_attempts: 3,
            initial_backoff: Duration::from_millis(10),
            max_backoff: Duration::from_millis(10),
            backoff_multiplier: 1.0,
            retryable_codes: vec![Code::Unavailable.into()],
        },
        fingerprint: Bytes::new(),
        trace: TraceContext::default(),
    }
}

pub(crate) fn is_running(record: &Record) -> bool {
    matches!(record.state, State::Running(_))
}

/// The response as JSON, or the error's code and message.
pub(crate) fn outcome(record: &Record) -> Result<Value, (Code, String)> {
    match &record.state {
        State::Done(Done { outcome: Outcome::Response(payload), .. }) => {
            Ok(json::payload_to_json(Some(payload)))
        }
        State::Done(Done { outcome: Outcome::Error(status), .. }) => {
            Err((Code::try_from(status.code).unwrap(), status.message.clone()))
        }
        State::Queued(_) | State::Running(_) => panic!("is not done: {record:?}"),
    }
}

/// The local bus with faults to be switched on.
#[derive(Default)]
pub(crate) struct Faulty {
    inner: LocalBus,
    /// It panics if anybody consumes or reports.
    pub(crate) broken: AtomicBool,
    /// Renewals are not answered.
    pub(crate) no_renewals: AtomicBool,
    /// How long claims are under way.
    pub(crate) claim_delay: Mutex<Duration>,
    /// So many answers to claims get lost.
    pub(crate) lost_claim_answers: AtomicUsize,
    /// So many events are stored, but not confirmed.
    pub(crate) unconfirmed_outcomes: AtomicUsize,
    /// How many reports of progress were sent.
    pub(crate) progress_sent: AtomicUsize,
}

fn unavailable() -> Error {
    Error::Unavailable { doing: "a test", source: None }
}

/// Counts down; whether there was something left.
fn take(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl Bus for Faulty {
    async fn publish(&self, message: Message) -> Result<(), Error> {
        self.inner.publish(message).await
    }

    async fn enqueue(&self, message: Message) -> Result<(), Error> {
        let mut is_outcome = false;
        if message.subject.starts_with("ls.event.") {
            assert!(!self.broken.load(Ordering::SeqCst), "the bus is broken");
            let events = Events::decode(message.payload.clone()).unwrap().events;
            let progress = |it: &Event| matches!(it.event, Some(event::Event::Progress(_)));
            let reports = events.iter().filter(|it| progress(it)).count();
            is_outcome = reports < events.len();
            self.progress_sent.fetch_add(reports, Ordering::SeqCst);
        }
        self.inner.enqueue(message).await?;
        if is_outcome && take(&self.unconfirmed_outcomes) { Err(unavailable()) } else { Ok(()) }
    }

    async fn request(&self, message: Message, timeout: Duration) -> Result<Bytes, Error> {
        if message.subject == subjects::RENEW && self.no_renewals.load(Ordering::SeqCst) {
            return Err(unavailable());
        }
        let is_claim = message.subject == subjects::CLAIM;
        if is_claim {
            let delay = *self.claim_delay.lock().unwrap();
            sleep(delay).await;
        }
        let answer = self.inner.request(message, timeout).await?;
        if is_claim && take(&self.lost_claim_answers) { Err(unavailable()) } else { Ok(answer) }
    }

    async fn subscribe(
        &self,
        subject: &str,
        group: Option<&str>,
    ) -> Result<Box<dyn Subscription>, Error> {
        self.inner.subscribe(subject, group).await
    }

    async fn consume(&self, work: Work) -> Result<Box<dyn Consumer>, Error> {
        assert!(!self.broken.load(Ordering::SeqCst), "the bus is broken");
        self.inner.consume(work).await
    }

    async fn oldest(&self, subject: &str) -> Result<Option<Bytes>, Error> {
        self.inner.oldest(subject).await
    }

    async fn depths(&self) -> Result<BTreeMap<String, u64>, Error> {
        self.inner.depths().await
    }

    fn status(&self) -> watch::Receiver<Status> {
        self.inner.status()
    }
}
