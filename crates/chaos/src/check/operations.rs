//! What clients see.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use longshore_proto::longrunning::{Operation, operation};
use prost::Message;
use prost_types::{Struct, value::Kind};
use tonic::Code;

use crate::{
    client::{Client, Job, metadata},
    handler::Then,
    history::Accepted,
    site::{Role, Site},
};

/// How many operations are read at once.
const AT_ONCE: usize = 16;

/// Waits for the end of all operations, and reads them at all gateways.
pub(super) async fn check(site: &Site) -> Result<()> {
    let accepted = site.history().accepted();
    let client = site.client();
    stream::iter(&accepted)
        .map(|(name, known)| ended(&client, name, known))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    for gateway in site.names_of(Role::Gateway) {
        let client = site.client_of(&gateway);
        let shown = shown(&client, &accepted).await.with_context(|| format!("at {gateway}"))?;
        listed(&client, &accepted, &shown).await.with_context(|| format!("at {gateway}"))?;
    }
    Ok(())
}

async fn ended(client: &Client, name: &str, known: &Accepted) -> Result<()> {
    if known.deleted {
        return Ok(());
    }
    let operation = client.wait(name).await.with_context(|| name.to_owned())?;
    is_right(&operation, known)
}

fn is_right(operation: &Operation, known: &Accepted) -> Result<()> {
    let Accepted { job, cancelled, .. } = known;
    let name = &operation.name;
    match &operation.result {
        Some(operation::Result::Response(any)) => {
            let fields = Struct::decode(&*any.value)?.fields;
            let number = fields.get("number").and_then(|value| value.kind.clone());
            let expected = Kind::NumberValue(f64::from(job.input.number));
            ensure!(number == Some(expected), "{name} has the response {fields:?} for {job:?}");
            ensure!(job.input.then == Then::Succeed, "{name} has succeeded, but is {job:?}");
        }
        Some(operation::Result::Error(error)) => {
            let is_cancelled = error.code == Code::Cancelled as i32;
            ensure!(
                is_cancelled == (*cancelled && is_cancelled)
                    && fails(job, is_cancelled, error.code),
                "{name} ended with {error:?}, but is {job:?} (cancelled: {cancelled}); {:?}",
                metadata(operation)
            );
        }
        None => bail!("{name} is done without an outcome"),
    }
    Ok(())
}

/// Whether a job may end with an error.
fn fails(job: &Job, cancelled: bool, code: i32) -> bool {
    match job.input.then {
        _ if cancelled => true,
        Then::Succeed | Then::GoOn => false,
        Then::Fail => code == Code::InvalidArgument as i32,
        Then::KillWorker => code == Code::Unavailable as i32,
    }
}

async fn shown(
    client: &Client,
    accepted: &BTreeMap<String, Accepted>,
) -> Result<BTreeMap<String, Operation>> {
    let read = |(name, known): (&String, &Accepted)| {
        let (name, deleted) = (name.clone(), known.deleted);
        async move {
            match client.get(&name).await {
                Ok(_) if deleted => bail!("{name} was deleted, and is there"),
                Ok(operation) => Ok(Some((name, operation))),
                Err(status) if deleted && status.code() == Code::NotFound => Ok(None),
                Err(status) => Err(status).context(name),
            }
        }
    };
    let all: Vec<_> =
        stream::iter(accepted).map(read).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(all.into_iter().flatten().collect())
}

/// Lists show what reads show.
async fn listed(
    client: &Client,
    accepted: &BTreeMap<String, Accepted>,
    shown: &BTreeMap<String, Operation>,
) -> Result<()> {
    let mut parents: Vec<&str> = accepted.values().map(|known| &*known.job.parent).collect();
    parents.sort_unstable();
    parents.dedup();
    let mut listed = BTreeMap::new();
    for parent in parents {
        for operation in client.list(parent).await? {
            let name = operation.name.clone();
            ensure!(listed.insert(name.clone(), operation).is_none(), "{name} is listed twice");
        }
    }
    for (name, operation) in shown {
        let Some(in_list) = listed.remove(name) else { bail!("{name} is in no list") };
        ensure!(in_list == *operation, "{name} is listed as {in_list:?}, but is {operation:?}");
    }
    if let Some(name) = listed.keys().next() {
        bail!("{name} is listed, but was not acknowledged or was deleted");
    }
    Ok(())
}
