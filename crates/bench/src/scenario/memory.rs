//! `memory`: what an operation takes in Redis, and what many of them take elsewhere.

use anyhow::{Context, Result, ensure};
use longshore_core::record::{Outcome as End, State};
use longshore_proto::longrunning::{
    GetOperationRequest, ListOperationsRequest, operations_client::OperationsClient,
};

use super::Bench;
use crate::{
    client::{channels, check_done},
    fill,
    floor::commands::Redis,
    lives::{Life, Mould, Stage},
    process::memory,
    report::{Figure, Outcome, Target},
    site::{Servers, Site},
};

/// The input and the response of each operation, in bytes.
const PAYLOAD: usize = 200;
/// How many bytes an operation may take beyond its payload.
const ALLOWED: f64 = 450.0;
/// How many operations are few.
const FEW: usize = 1000;
/// How much larger a role may be with many operations than with few: what allocators do by
/// themselves.
const FLAT: f64 = 1.15;

/// Bytes per queued and per finished operation, and the roles' memory with few and with many.
pub(super) async fn memory_of(bench: &Bench) -> Result<Outcome> {
    let many = bench.large(1_000_000, 400);
    let few = FEW.min(many / 2);
    let queued = queued(many).await?;

    let site = bench.real(1, &[]).await?;
    let servers = site.servers.as_ref().context("there are no servers")?;
    let pid = |role| site.pids(role).first().copied().context("a role is missing");
    let (gateway, state) = (pid("gateway")?, pid("state")?);
    let mut redis = Redis::connect(&servers.redis.url()).await?;
    let mut bytes = finish(servers, few).await?;
    // Twice, so that what is made once is made.
    traffic(&site, few).await?;
    traffic(&site, few).await?;
    let before = [memory(gateway), memory(state)];
    let used = used(&mut redis).await?;
    bytes = finish(servers, many - few).await?.max(bytes);
    let finished = (self::used(&mut redis).await? - used) / (many - few) as f64;
    traffic(&site, few).await?;
    let after = [memory(gateway), memory(state)];
    ensure!(redis.all().await? == many, "some operations are missing");

    let (of_queued, input) = queued;
    let beyond = |name: &str, each: f64, payload: f64| {
        let payload = payload.max(1.0);
        Figure::new(format!("{name}, bytes beyond its payload, of at most"), each - payload)
            .against(ALLOWED, (each - payload) / ALLOWED)
            .target(Target::AtMost(1.0))
    };
    let flat = |role: &str, place: usize| {
        let (before, after) = (before[place] as f64, after[place] as f64);
        Figure::new(format!("{role}, MiB with {many} operations, by {few}"), after / 1048576.0)
            .against(before / 1048576.0, after / before)
            .target(Target::AtMost(FLAT))
    };
    let figures = vec![
        beyond("finished operation in Redis", finished, bytes as f64),
        beyond("queued operation in Redis", of_queued, input as f64),
        Figure::new("bytes per finished operation", finished),
        Figure::new("bytes per queued operation", of_queued),
        flat("gateway", 0),
        flat("state", 1),
    ];
    Ok(Outcome::new("memory", 1, figures))
}

/// Bytes per queued operation in a Redis of its own, and the bytes of its input.
async fn queued(count: usize) -> Result<(f64, usize)> {
    let servers = Servers::start().await;
    let store = servers.store().await?;
    let mut redis = Redis::connect(&servers.redis.url()).await?;
    let mould = Mould::new("noop", PAYLOAD)?;
    // The first of each list costs more than the rest.
    let some = (0..FEW).map(|_| Ok(mould.submission()?.change)).collect::<Result<Vec<_>>>()?;
    fill::commit(&store, some).await?;
    let before = used(&mut redis).await?;
    for batch in batches(count) {
        let batch = (0..batch).map(|_| Ok(mould.submission()?.change)).collect::<Result<_>>()?;
        fill::commit(&store, batch).await?;
    }
    let input = mould.job.input.as_ref().map_or(0, |input| input.value.len());
    Ok(((used(&mut redis).await? - before) / count as f64, input))
}

/// Takes so many operations through their whole lives; returns the bytes of input and response.
async fn finish(servers: &Servers, count: usize) -> Result<usize> {
    let store = servers.store().await?;
    let mould = Mould::new("noop", PAYLOAD)?;
    let mut payload = 0;
    for batch in batches(count) {
        let lives = (0..batch).map(|_| mould.life()).collect::<Result<Vec<_>>>()?;
        payload = lives.first().map_or(payload, |life| payload_of(&life.completed));
        type Stages = [fn(&Life) -> &Stage; 3];
        let stages: Stages = [|life| &life.submitted, |life| &life.claimed, |life| &life.completed];
        for stage in stages {
            let changes = lives.iter().map(|life| stage(life).change.clone()).collect();
            fill::commit(&store, changes).await?;
        }
    }
    Ok(payload)
}

fn payload_of(stage: &Stage) -> usize {
    let record = &stage.record;
    let input = record.job.input.as_ref().map_or(0, |input| input.value.len());
    match &record.state {
        State::Done(done) => match &done.outcome {
            End::Response(response) => input + response.value.len(),
            End::Error(_) => input,
        },
        State::Queued(_) | State::Running(_) => input,
    }
}

fn batches(count: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by(10_000).map(move |done| (count - done).min(10_000))
}

/// What the data take in Redis, in bytes.
async fn used(redis: &mut Redis) -> Result<f64> {
    Ok(redis.info("memory", "used_memory").await?.parse()?)
}

/// Gets and lists some operations.
async fn traffic(site: &Site, few: usize) -> Result<()> {
    let channel = channels(&site.address, 1).await?.remove(0);
    let mut client = OperationsClient::new(channel);
    let request = ListOperationsRequest { page_size: few as i32, ..Default::default() };
    for _ in 0..2 {
        let page = client.list_operations(request.clone()).await?.into_inner();
        for operation in page.operations {
            let request = GetOperationRequest { name: operation.name };
            check_done(client.get_operation(request).await?.get_ref())?;
        }
    }
    Ok(())
}
