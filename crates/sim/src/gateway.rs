//! Gateways, and the way to them: calls that get lost there and back, to processes that die.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt};
use longshore_gateway::{Api, Settings};
use longshore_proto::{
    longrunning::Operation,
    v1::{WatchOperationRequest, jobs_server::Jobs},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};
use tonic::{Request, Response, Status};

use crate::{gate::Gate, roles::Site, world::millis};

/// How long calls in flight have when a gateway stops.
const GRACE: Duration = Duration::from_secs(5);

/// Where a gateway is reached while it lives.
#[derive(Clone)]
pub(crate) struct Door {
    api: Arc<Api>,
    gate: Arc<Gate>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) max_wait: Duration,
    calls: TaskTracker,
}

/// The doors of all gateways that live, by number.
#[derive(Default)]
pub(crate) struct Doors(Mutex<BTreeMap<usize, Door>>);

impl Doors {
    fn all(&self) -> MutexGuard<'_, BTreeMap<usize, Door>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer, and who gave it; nobody, if there was none to ask.
pub(crate) type Answered<T> = (Result<T, Status>, Option<Door>);

impl Site {
    pub(crate) async fn gateway(self, number: usize) {
        let max_wait = millis(1_000..40_000);
        let default_page_size = fastrand::u32(1..8);
        let settings = Settings { max_wait, default_page_size, ..Settings::default() };
        let start =
            |gate, shutdown| self.clone().serve_clients(number, gate, settings.clone(), shutdown);
        self.live(format!("gateway-{number}"), start).await;
    }

    async fn serve_clients(
        self,
        number: usize,
        gate: Arc<Gate>,
        settings: Settings,
        shutdown: CancellationToken,
    ) {
        let max_wait = settings.max_wait;
        let api = Api::new(settings, self.ledger(&gate), shutdown.clone());
        let api = Arc::new(api.expect("settings in their bounds"));
        let calls = TaskTracker::new();
        let door = Door { api: api.clone(), gate, shutdown, max_wait, calls: calls.clone() };
        self.doors.all().insert(number, door);
        api.hear().await;
        self.doors.all().remove(&number);
        calls.close();
        drop(timeout(GRACE, calls.wait()).await);
        drop(timeout(GRACE, api.drain()).await);
    }

    /// One of the gateways that live.
    fn door(&self) -> Option<Door> {
        let doors = self.doors.all();
        let alive: Vec<&Door> =
            doors.values().filter(|door| !door.gate.dead.is_cancelled()).collect();
        (!alive.is_empty()).then(|| alive[fastrand::usize(..alive.len())].clone())
    }

    /// Calls a gateway. A client that gives up hangs up, which ends the call there.
    pub(crate) async fn call<T, F, Fut>(&self, patience: Duration, call: F) -> Answered<T>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Api>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let Some(door) = self.door() else {
            sleep(Duration::from_millis(100)).await;
            return (Err(Status::unavailable("no gateway")), None);
        };
        let (sender, answer) = oneshot::channel();
        let (site, at) = (self.clone(), door.clone());
        let served = async move {
            let faults = &site.world.faults;
            sleep(site.hub.journey()).await;
            if site.world.strikes(faults.lose_request) {
                return;
            }
            at.gate.pass().await;
            let answered = Box::pin(call(at.api.clone())).await;
            at.gate.pass().await;
            sleep(site.hub.journey()).await;
            if !site.world.strikes(faults.lose_answer) {
                sender.send(answered.map(Response::into_inner)).ok();
            }
        };
        let _call = AbortOnDropHandle::new(tokio::spawn(door.calls.track_future(served)));
        let answered = tokio::select! {
            biased;
            answer = answer => answer.unwrap_or_else(|_| Err(Status::unavailable("cut off"))),
            () = door.gate.dead.cancelled() => Err(Status::unavailable("it died")),
            () = sleep(patience) => Err(Status::deadline_exceeded("nothing came back")),
        };
        (answered, Some(door))
    }

    /// Opens a stream of an operation's states: each comes as soon as the gateway gives it, and the
    /// stream ends where the gateway ends it, or with an error should that die.
    pub(crate) fn watch(&self, name: String) -> Option<Watch> {
        let door = self.door()?;
        let (sender, states) = mpsc::unbounded_channel();
        let (site, at) = (self.clone(), door.clone());
        let served = async move {
            sleep(site.hub.journey()).await;
            at.gate.pass().await;
            let opened = at.api.watch_operation(Request::new(WatchOperationRequest { name })).await;
            match opened {
                Ok(stream) => site.forward(&at, stream.into_inner(), &sender).await,
                Err(status) => drop(sender.send(Err(status))),
            }
        };
        let call = AbortOnDropHandle::new(tokio::spawn(door.calls.track_future(served)));
        Some(Watch { states, door, _call: call })
    }

    async fn forward(
        &self,
        at: &Door,
        stream: impl Stream<Item = Result<Operation, Status>>,
        sender: &mpsc::UnboundedSender<Result<Operation, Status>>,
    ) {
        let mut stream = pin!(stream);
        while let Some(state) = stream.next().await {
            at.gate.pass().await;
            sleep(self.hub.journey()).await;
            // Whoever watched may have gone.
            sender.send(state).ok();
        }
        at.gate.pass().await;
    }
}

/// A stream of an operation's states.
pub(crate) struct Watch {
    states: mpsc::UnboundedReceiver<Result<Operation, Status>>,
    door: Door,
    _call: AbortOnDropHandle<()>,
}

impl Watch {
    /// Whether the gateway was told to stop: another one goes on from here.
    pub(crate) fn stops(&self) -> bool {
        self.door.shutdown.is_cancelled()
    }

    /// The next state, an error, or `None` where the gateway ends the stream. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Operation, Status>> {
        tokio::select! {
            biased;
            state = self.states.recv() => state,
            () = self.door.gate.dead.cancelled() => Some(Err(Status::unavailable("it died"))),
        }
    }
}
