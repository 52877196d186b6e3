//! Clients: they hand in jobs through gateways and follow them as Google's clients do, calling
//! again what found nobody, and tell the history what they are shown.

use std::time::Duration;

use futures::future::join;
use longshore_core::names::{OperationId, OperationName, Parent};
use longshore_gateway::Api;
use longshore_proto::{
    longrunning::{
        CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest,
        Operation, WaitOperationRequest, operations_server::Operations,
    },
    v1::{RunJobRequest, jobs_server::Jobs},
};
use tokio::time::{sleep, timeout};
use tonic::{Code, Request, Response, Status};

use crate::{
    history::Listing,
    order::{PARENTS, RESOURCES},
    roles::Site,
    world::millis,
};

/// How long a client waits for the answer to a call that does not wait itself.
const PATIENCE: Duration = Duration::from_secs(12);
/// How late an answer may be that has nothing to wait for, once all has to be in time.
const PROMPT: Duration = Duration::from_secs(1);

impl Site {
    /// Hands in some jobs and does this and that to them.
    pub(crate) async fn client(self, name: String, jobs: usize, pause: Duration) {
        for job in 0..jobs {
            sleep(pause.mul_f64(fastrand::f64())).await;
            let client = Client { site: &self, who: format!("{name}.{job}") };
            client.story().await;
        }
    }

    /// Hands in jobs, and cares no more.
    pub(crate) async fn hand_in(&self, name: String, jobs: usize) {
        for job in 0..jobs {
            let client = Client { site: self, who: format!("{name}.{job}") };
            client.run(&self.order()).await;
        }
    }

    /// Watches an operation until it ends.
    pub(crate) async fn watcher(self, who: String, name: OperationName) {
        let client = Client { site: &self, who };
        client.watch(&name, Duration::from_secs(4000)).await;
    }
}

struct Client<'a> {
    site: &'a Site,
    who: String,
}

impl Client<'_> {
    async fn story(&self) {
        let order = self.site.order();
        let Some(name) = self.run(&order).await else { return };
        for _ in 0..fastrand::usize(0..5) {
            sleep(millis(0..8_000)).await;
            match fastrand::u8(..12) {
                0 => self.cancel(&name).await,
                1 => self.delete(&name).await,
                2 => self.list().await,
                3 if !order.request_id.is_empty() => drop(self.run(&order).await),
                4 => self.preview(&order).await,
                5 => self.stray(&name).await,
                3 | 6 => self.get(&name).await,
                7 | 8 => self.wait(&name).await,
                9 => join(self.wait(&name), self.cancel(&name)).await.0,
                _ => self.watch(&name, millis(500..40_000)).await,
            }
        }
    }

    /// Calls again until there is an answer. Gives it with the tick from before its call.
    async fn call<T, F, Fut>(
        &self,
        id: Option<&OperationId>,
        what: &str,
        call: F,
    ) -> (u64, Result<T, Status>)
    where
        T: Send + 'static,
        F: Fn(std::sync::Arc<Api>) -> Fut + Send + Clone + 'static,
        Fut: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let world = &self.site.world;
        loop {
            let asked = world.now();
            let since = world.history().tick();
            world.history().asks(asked, &self.who, id, what);
            let patience = self.patience();
            let (answer, _) = self.site.call(patience, call.clone()).await;
            self.note(id, what, answer.as_ref().err());
            if world.is_strict() && world.now() > asked + PROMPT {
                world.history().wrong(id, format!("{what} was answered late"));
            }
            match answer {
                Err(_) if patience < PATIENCE => {}
                Err(status) if self.is_passing(&status) => sleep(millis(50..2_000)).await,
                answer => return (since, answer),
            }
        }
    }

    /// For how long a call is waited for. Some hang up at once: what they asked for is then done,
    /// or not, but not by half.
    fn patience(&self) -> Duration {
        if fastrand::u8(..10) == 0 { millis(0..12) } else { PATIENCE }
    }

    fn note(&self, id: Option<&OperationId>, what: &str, error: Option<&Status>) {
        let world = &self.site.world;
        let answer = error.map_or("OK", |status| status.message());
        world.history().note(
            world.now(),
            id,
            format!("{} is answered: {what}: {answer}", self.who),
        );
    }

    /// Whether the same call may go better later. Nothing but what is checked, and faults, may
    /// make a call fail.
    fn is_passing(&self, status: &Status) -> bool {
        let world = &self.site.world;
        match status.code() {
            Code::NotFound | Code::AlreadyExists => false,
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted if !world.is_strict() => {
                true
            }
            _ => {
                world.history().wrong(None, format!("a call fails for no reason: {status}"));
                false
            }
        }
    }

    async fn run(&self, order: &RunJobRequest) -> Option<OperationName> {
        let world = &self.site.world;
        let id = match &*order.request_id {
            "" => None,
            request_id => {
                let parent = Parent::parse(&order.parent).unwrap_or_default();
                Some(OperationId::of_request(&parent, request_id))
            }
        };
        loop {
            let order = self.site.again(order);
            let since = world.history().tick();
            world.history().asks(world.now(), &self.who, id.as_ref(), "run");
            let request = order.clone();
            let run =
                |api: std::sync::Arc<Api>| async move { api.run_job(Request::new(request)).await };
            let patience = self.patience();
            let (answer, _) = self.site.call(patience, run).await;
            self.note(id.as_ref(), "run", answer.as_ref().err());
            match answer {
                Ok(operation) => {
                    world.history().accepted(since, &order, &operation);
                    let name = OperationName::parse(&operation.name).ok()?;
                    if id.is_some_and(|id| id != name.id) {
                        let what = "the same request became another operation".to_owned();
                        world.history().wrong(Some(&name.id), what);
                    }
                    return Some(name);
                }
                Err(status) if status.code() == Code::AlreadyExists => {
                    match id {
                        Some(id) => world.history().taken(since, &id, &order),
                        None => world.history().wrong(None, "a new job exists already".to_owned()),
                    }
                    return None;
                }
                Err(_) if patience < PATIENCE => {}
                Err(status) if self.is_passing(&status) => sleep(millis(50..2_000)).await,
                Err(_) => return None,
            }
        }
    }

    /// Asks what would become of a job, which makes none.
    async fn preview(&self, order: &RunJobRequest) {
        let request =
            RunJobRequest { validate_only: true, request_id: String::new(), ..order.clone() };
        let preview = move |api: std::sync::Arc<Api>| {
            let request = request.clone();
            async move { api.run_job(Request::new(request)).await }
        };
        if let (_, Ok(operation)) = self.call(None, "preview", preview).await
            && !(operation.name.is_empty() && operation.done)
        {
            self.site.world.history().wrong(None, "a preview has a name".to_owned());
        }
    }

    async fn cancel(&self, name: &OperationName) {
        self.site.world.history().will_cancel(&name.id);
        let request = CancelOperationRequest { name: name.to_string() };
        let cancel = move |api: std::sync::Arc<Api>| {
            let request = request.clone();
            async move { api.cancel_operation(Request::new(request)).await }
        };
        let (since, answer) = self.call(Some(&name.id), "cancel", cancel).await;
        let mut history = self.site.world.history();
        match answer {
            Ok(()) => history.cancelled(since, &name.id),
            Err(_) => history.missed(since, &name.id),
        }
    }

    async fn delete(&self, name: &OperationName) {
        self.site.world.history().will_delete(&name.id);
        let request = DeleteOperationRequest { name: name.to_string() };
        let delete = move |api: std::sync::Arc<Api>| {
            let request = request.clone();
            async move { api.delete_operation(Request::new(request)).await }
        };
        let (since, answer) = self.call(Some(&name.id), "delete", delete).await;
        match answer {
            Ok(()) => self.site.world.history().deleted(since, &name.id),
            Err(_) => self.site.world.history().missed(since, &name.id),
        }
        self.get(name).await;
    }

    async fn get(&self, name: &OperationName) {
        let request = GetOperationRequest { name: name.to_string() };
        let get = move |api: std::sync::Arc<Api>| {
            let request = request.clone();
            async move { api.get_operation(Request::new(request)).await }
        };
        let (since, answer) = self.call(Some(&name.id), "get", get).await;
        let mut history = self.site.world.history();
        match answer {
            Ok(operation) => history.saw(since, name, &operation),
            Err(_) => history.missed(since, &name.id),
        }
    }

    /// Names an operation under another parent, where there is none.
    async fn stray(&self, name: &OperationName) {
        let parents: Vec<&str> =
            PARENTS.into_iter().filter(|parent| *parent != name.parent.as_str()).collect();
        let parent = Parent::parse(parents[fastrand::usize(..parents.len())]).unwrap_or_default();
        let other = OperationName { parent, id: name.id.clone() }.to_string();
        let what = fastrand::u8(..3);
        let stray = move |api: std::sync::Arc<Api>| {
            let name = other.clone();
            async move {
                match what {
                    0 => api
                        .get_operation(Request::new(GetOperationRequest { name }))
                        .await
                        .map(drop),
                    1 => api
                        .cancel_operation(Request::new(CancelOperationRequest { name }))
                        .await
                        .map(drop),
                    _ => api
                        .delete_operation(Request::new(DeleteOperationRequest { name }))
                        .await
                        .map(drop),
                }
                .map(Response::new)
            }
        };
        let found = self.call(Some(&name.id), "for it elsewhere", stray).await.1.is_ok();
        // After a failure of the store a gateway can't tell whether it was the one who deleted it.
        if found && (what < 2 || self.site.world.is_strict()) {
            let what = "it was found under another parent".to_owned();
            self.site.world.history().wrong(Some(&name.id), what);
        }
    }

    /// Waits once. It is answered by its time, and not before unless it has ended.
    async fn wait(&self, name: &OperationName) {
        let world = &self.site.world;
        let longest = millis(0..30_000);
        let timeout = prost_types::Duration::try_from(longest).ok();
        let request = WaitOperationRequest { name: name.to_string(), timeout };
        let (asked, since) = (world.now(), world.history().tick());
        world.history().asks(asked, &self.who, Some(&name.id), &format!("wait {longest:?}"));
        let wait = |api: std::sync::Arc<Api>| async move {
            api.wait_operation(Request::new(request)).await
        };
        let (answer, door) = self.site.call(longest + PATIENCE, wait).await;
        self.note(Some(&name.id), "wait", answer.as_ref().err());
        let (now, late) = (world.now(), world.lag());
        let stops = door.as_ref().is_none_or(|door| door.shutdown.is_cancelled());
        let longest = door.map_or(longest, |door| longest.min(door.max_wait));
        if world.is_strict() && now > asked + longest + PROMPT {
            world.history().wrong(Some(&name.id), "a wait was answered late".to_owned());
        }
        match answer {
            Ok(operation) => {
                let mut history = world.history();
                history.saw(since, name, &operation);
                history.waited(now, &name.id, asked, late);
                if !operation.done && now < asked + longest && !stops {
                    history.wrong(Some(&name.id), "a wait was answered early".to_owned());
                }
            }
            Err(status) if !self.is_passing(&status) => world.history().missed(since, &name.id),
            Err(_) => {}
        }
    }

    /// Watches for so long, from one gateway after the other should they die.
    async fn watch(&self, name: &OperationName, span: Duration) {
        let mut after = None;
        let watched = async {
            while !self.watch_once(name, &mut after).await {
                sleep(millis(50..2_000)).await;
            }
        };
        drop(timeout(span, watched).await);
    }

    /// Watches until the stream ends; whether there is no more to be seen.
    async fn watch_once(&self, name: &OperationName, after: &mut Option<u64>) -> bool {
        let world = &self.site.world;
        let since = world.history().tick();
        world.history().asks(world.now(), &self.who, Some(&name.id), "watch");
        let Some(mut watch) = self.site.watch(name.to_string()) else { return false };
        let (mut done, mut first) = (false, true);
        let begun = world.now();
        loop {
            let Ok(next) = timeout(Duration::from_secs(1), watch.next()).await else {
                let (now, late) = (world.now(), world.lag());
                world.history().waited(now, &name.id, begun, late);
                continue;
            };
            match next {
                Some(Ok(operation)) => {
                    let earlier = after.filter(|_| !first);
                    let seen = world.history().watched(since, name, earlier, &operation);
                    (*after, first) = (Some(seen), false);
                    (done, _) = (operation.done, self.shown(name, &operation));
                }
                Some(Err(status)) => {
                    self.note(Some(&name.id), "watch", Some(&status));
                    let passes = watch.stops() || self.is_passing(&status);
                    if !passes {
                        world.history().missed(since, &name.id);
                    }
                    return !passes;
                }
                None if done => return true,
                None => {
                    let what = "a watch ended before the operation".to_owned();
                    world.history().wrong(Some(&name.id), what);
                    return true;
                }
            }
        }
    }

    fn shown(&self, name: &OperationName, operation: &Operation) {
        let text = format!("{} sees it, done: {}", self.who, operation.done);
        self.site.world.history().note(self.site.world.now(), Some(&name.id), text);
    }

    async fn list(&self) {
        let parents = [&PARENTS[1..], &["projects/-"]].concat();
        let parent = parents[fastrand::usize(..parents.len())];
        let done = [None, None, Some(true), Some(false)][fastrand::usize(..4)];
        let works_on = (done.is_none() && fastrand::u8(..4) == 0).then_some(RESOURCES[0]);
        let filter = match (done, works_on) {
            (Some(done), _) => format!("done={done}"),
            (None, Some(name)) => format!("metadata.works_on:\"{name}\""),
            (None, None) => String::new(),
        };
        let since = self.site.world.history().tick();
        if let Some(shown) = self.pages(parent, &filter).await {
            let listing = Listing { parent, done, works_on, shown: &shown };
            self.site.world.history().listed(since, &listing);
        }
    }

    /// A whole list, page by page.
    async fn pages(&self, parent: &str, filter: &str) -> Option<Vec<Operation>> {
        let mut shown = Vec::new();
        let mut request = ListOperationsRequest {
            name: parent.to_owned(),
            filter: filter.to_owned(),
            page_size: fastrand::i32(0..6),
            ..ListOperationsRequest::default()
        };
        loop {
            let asked = request.clone();
            let list = move |api: std::sync::Arc<Api>| {
                let asked = asked.clone();
                async move { api.list_operations(Request::new(asked)).await }
            };
            let what = format!("list {parent:?} {filter:?}");
            let page = self.call(None, &what, list).await.1.ok()?;
            shown.extend(page.operations);
            if page.next_page_token.is_empty() {
                return Some(shown);
            }
            request.page_token = page.next_page_token;
        }
    }
}
