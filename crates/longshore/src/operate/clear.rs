//! `longshore admin move` and `longshore admin discard`.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use longshore_core::{
    index::Index,
    lifecycle::{Input, Unqueued},
    names::{JobType, OperationId},
    record::{Record, State},
    time::Time,
};
use longshore_state::{
    ledger::{Error, Ledger},
    store::{Error as StoreError, Position, Store},
};

use super::{call, stores};
use crate::{
    cli::{Clear, Move},
    client::{complain, say},
    exit::{BadInput, Exit},
    settings::Settings,
};

/// How many operations are looked at together.
const PAGE: usize = 256;

/// Gives operations that wait another job type.
pub(super) async fn shift(args: &Move) -> Result<Exit> {
    let to = job_type(&args.to)?;
    clear(&args.clear, Unqueued::Queue(to), "moved").await
}

/// Ends operations that wait.
pub(super) async fn discard(args: &Clear) -> Result<Exit> {
    clear(args, Unqueued::End, "discarded").await
}

fn job_type(name: &str) -> Result<JobType> {
    JobType::parse(name).map_err(BadInput::from).with_context(|| name.to_owned())
}

async fn clear(args: &Clear, to: Unqueued, done: &str) -> Result<Exit> {
    let queue = job_type(&args.job_type)?;
    let settings = Settings::load(&args.site)?;
    let store: Box<dyn Store> = stores::redis(&args.site).await?;
    let bus = call::bus(&args.site).await?;
    let ledger = Ledger::new(Arc::from(store), Arc::new(bus), settings.rules.get());
    let wanted = Wanted { queue, older: args.older };
    let (mut found, mut gone) = (0_u64, 0_u64);
    let mut after = None;
    loop {
        let page = page(ledger.store(), after.as_ref(), &wanted).await;
        let (ids, last) =
            page.map_err(|error| stores::failed(error, format!("{gone} operations are {done}")))?;
        found += ids.len() as u64;
        if !args.dry_run {
            gone += apply(&ledger, ids, &wanted.queue, &to).await?;
        }
        match last {
            Some(place) => after = Some(place),
            None => break,
        }
    }
    if args.dry_run {
        say(&format!("{found} operations would be {done}"))?;
        return Ok(Exit::Fine);
    }
    say(&format!("{gone} operations are {done}"))?;
    if gone < found {
        complain(&format!("{} were started or ended meanwhile", found - gone))?;
    }
    Ok(Exit::Fine)
}

/// Which operations are meant.
struct Wanted {
    queue: JobType,
    /// Accepted so long ago at least.
    older: Option<Duration>,
}

impl Wanted {
    fn is(&self, record: &Record, now: Time) -> bool {
        record.job.job_type == self.queue
            && matches!(record.state, State::Queued(_))
            && self.older.is_none_or(|older| now.since(record.create_time) >= older)
    }
}

/// Those that are wanted among the next operations that have not ended, and where to go on.
async fn page(
    store: &dyn Store,
    after: Option<&Position>,
    wanted: &Wanted,
) -> Result<(Vec<OperationId>, Option<Position>), StoreError> {
    let listed = store.list(&Index::AllActive, after, PAGE).await?;
    let is_last = listed.len() < PAGE;
    let mut ids = Vec::new();
    let mut last = None;
    // Without a record there is no place to go on from, so what is damaged is passed over.
    let records: Vec<Record> = listed.into_iter().flatten().map(|stored| stored.record).collect();
    let now = match records.first() {
        Some(record) => {
            let loaded = store.load(std::slice::from_ref(&record.id)).await.pop();
            loaded.transpose()?.map_or(Time::MAX, |loaded| loaded.now)
        }
        None => Time::MAX,
    };
    for record in records {
        if wanted.is(&record, now) {
            ids.push(record.id.clone());
        }
        last = Some(Position { create_time: record.create_time, id: record.id });
    }
    Ok((ids, if is_last { None } else { last }))
}

/// How many of them it was done to: others may have been started meanwhile.
async fn apply(
    ledger: &Ledger,
    ids: Vec<OperationId>,
    queue: &JobType,
    to: &Unqueued,
) -> Result<u64> {
    let input = |id| (id, Input::Unqueue { queue: queue.clone(), to: to.clone() });
    let mut applied = Vec::new();
    let mut trouble = Ok(());
    for result in ledger.apply_all(ids.into_iter().map(input).collect()).await {
        match result {
            Ok(it) => applied.push(it),
            Err(Error::Rejected(_)) => {}
            Err(Error::Store(error)) => {
                trouble = Err(stores::failed(error, "not all is done; repeat it".to_owned()));
            }
            Err(error @ Error::Contended(_)) => trouble = Err(error.into()),
        }
    }
    ledger.perform_all(&applied).await;
    trouble.map(|()| applied.len() as u64)
}
