//! Clients: what gateways do for them, each call in a process of its own that may die.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use longshore_bus::subjects;
use longshore_core::{
    index::Index,
    json,
    lifecycle::{Input, Submit, Write, step},
    names::{JobType, OperationId, Parent},
    record::{Job, Record, Retry, TraceContext},
};
use longshore_proto::{
    internal::{Changed, Changes},
    rpc::Code,
    v1::Priority,
};
use longshore_state::ledger::{Applied, Error, Ledger};
use prost::Message;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    Bug,
    gate::Gate,
    history::Ask,
    roles::{JOB_TYPES, Site},
    world::millis,
};

/// How many request ids clients share.
const REQUESTS: usize = 5;

impl Site {
    /// Hands in some jobs and does this and that to them.
    pub(crate) async fn client(self, number: usize) {
        for call in 0..fastrand::usize(1..4) {
            sleep(millis(0..20_000)).await;
            let gate = Gate::new(&self.world, format!("client-{number}.{call}"));
            tokio::select! {
                biased;
                () = gate.dead.cancelled() => {}
                () = Box::pin(self.follow(&gate)) => {}
            }
            gate.die();
        }
    }

    async fn follow(&self, gate: &Arc<Gate>) {
        let ledger = self.ledger(gate);
        let parent = Parent::parse(["", "projects/p"][fastrand::usize(..2)]).unwrap_or_default();
        let (id, fingerprint) = if fastrand::bool() {
            let request = format!("request-{}", fastrand::usize(..REQUESTS));
            (OperationId::of_request(&parent, &request), request.into_bytes())
        } else {
            (OperationId::random(), Vec::new())
        };
        let caller = Caller { site: self, gate, ledger: &ledger, id: &id };
        let job = self.job(fingerprint.into());
        let submit = Submit { id: id.clone(), parent: parent.clone(), job };
        let submit = Input::Submit(Box::new(submit));
        let Some(accepted) = caller.call(Ask::Submit, submit.clone()).await else { return };
        for _ in 0..fastrand::usize(0..5) {
            sleep(millis(0..8_000)).await;
            let parent = parent.clone();
            match fastrand::u8(..6) {
                0 => drop(caller.call(Ask::Cancel, Input::Cancel { parent }).await),
                1 => {
                    if caller.call(Ask::Delete, Input::Delete { parent }).await.is_some() {
                        caller.is_hidden(&accepted.record).await;
                    }
                }
                2 => caller.list(&parent).await,
                3 => drop(caller.call(Ask::Submit, submit.clone()).await),
                _ => drop(caller.get().await),
            }
        }
    }

    fn job(&self, fingerprint: Bytes) -> Job {
        let some = |range| fastrand::bool().then(|| millis(range));
        let input = json!({ "input": self.world.serial() });
        Job {
            job_type: JobType::parse(JOB_TYPES[fastrand::usize(..2)]).expect("a name of ours"),
            input: json::response_from_json(input).ok(),
            labels: BTreeMap::new(),
            works_on: Vec::new(),
            priority: [Priority::High, Priority::Normal, Priority::Low][fastrand::usize(..3)],
            schedule_time: some(0..20_000).map(|later| self.world.store_time() + later),
            queue_timeout: some(5_000..60_000),
            run_timeout: some(500..20_000),
            ttl: some(1_000..60_000).unwrap_or(Duration::from_secs(1 << 30)),
            retry: Retry {
                max_attempts: fastrand::u32(1..5),
                initial_backoff: millis(10..2_000),
                max_backoff: Duration::from_secs(10),
                backoff_multiplier: 2.0,
                retryable_codes: vec![Code::Unavailable.into()],
            },
            fingerprint,
            trace: TraceContext::default(),
        }
    }
}

struct Caller<'a> {
    site: &'a Site,
    gate: &'a Gate,
    ledger: &'a Ledger,
    id: &'a OperationId,
}

impl Caller<'_> {
    /// Calls again until there is an answer, as clients do; `None` if it is a refusal.
    async fn call(&self, ask: Ask, input: Input) -> Option<Applied> {
        let world = &self.site.world;
        world.history().asked(world.now(), &self.gate.name, self.id, ask);
        loop {
            if world.bug == Some(Bug::EffectsBeforeCommit) {
                self.announce_early(&input).await;
            }
            match self.ledger.apply(self.id.clone(), input.clone()).await {
                Ok(applied) => {
                    self.gate.pass().await;
                    world.history().answered(world.now(), &self.gate.name, ask, &applied);
                    self.ledger.perform(&applied).await;
                    return Some(applied);
                }
                Err(Error::Rejected(_)) => return None,
                Err(Error::Store(_) | Error::Contended(_)) => sleep(millis(50..2_000)).await,
            }
        }
    }

    async fn load(&self) -> Option<(u64, Record)> {
        let world = &self.site.world;
        loop {
            let loaded = self.ledger.store().load(std::slice::from_ref(self.id)).await.pop();
            let Some(Ok(loaded)) = loaded else {
                sleep(millis(50..2_000)).await;
                continue;
            };
            let stored = loaded.stored?;
            world.history().read(self.id, stored.revision, &stored.record);
            return Some((stored.revision, stored.record));
        }
    }

    async fn get(&self) -> Option<Record> {
        self.load().await.map(|(_, record)| record).filter(|record| !record.deleted)
    }

    /// After an acknowledged delete it is not found, unless somebody handed it in again.
    async fn is_hidden(&self, accepted: &Record) {
        if self.get().await.is_some_and(|record| record.create_time == accepted.create_time) {
            let what = "found after its delete was acknowledged".to_owned();
            self.site.world.history().wrong(Some(self.id), what);
        }
    }

    async fn list(&self, parent: &Parent) {
        let index = Index::In(parent.clone());
        let Ok(listed) = self.ledger.store().list(&index, None, 100).await else { return };
        let mut history = self.site.world.history();
        for stored in listed.into_iter().flatten() {
            history.read(&stored.record.id, stored.revision, &stored.record);
            if stored.record.deleted {
                history.wrong(Some(&stored.record.id), "listed, but deleted".to_owned());
            }
        }
    }

    /// What a shell with a bug does: it tells of a change before it is committed.
    async fn announce_early(&self, input: &Input) {
        let Some(Ok(loaded)) = self.ledger.store().load(std::slice::from_ref(self.id)).await.pop()
        else {
            return;
        };
        let (revision, record) = loaded.stored.map(|it| (it.revision, it.record)).unzip();
        let stepped = step(record, input.clone(), loaded.now, self.ledger.rules());
        if let (Ok(step), Some(revision)) = (stepped, revision)
            && step.write != Write::Keep
        {
            let record = Some(longshore_core::codec::encode(&step.record));
            let revision = revision + 1;
            let changes = vec![Changed { id: self.id.to_string(), revision, record }];
            let changes = Changes { changes }.encode_to_vec();
            let message = longshore_bus::Message::new(subjects::CHANGES, changes);
            self.ledger.bus().publish(message).await.ok();
        }
    }
}
