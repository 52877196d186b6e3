//! The gateway's calls against an empty server: `get`, `get-http`, `submit`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use longshore_proto::{
    longrunning::{GetOperationRequest, operations_client::OperationsClient},
    v1::jobs_client::JobsClient,
};
use prost::Message;

use super::{Bench, Rounds, add_used};
use crate::{
    client::{Get, GetHttp, Submit, callers, channels, check_done, job, run_to_end},
    floor::empty::EmptyServer,
    load::{Caller, Run, Until, closed},
    report::{Figure, Outcome, Target},
    site::Site,
    stats::Samples,
};

/// How many calls are in flight.
const IN_FLIGHT: usize = 64;
/// How many operations there are to get.
const OPERATIONS: usize = 1000;
/// How long a round of one side is.
const ROUND: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_secs(1);

/// GetOperation over gRPC.
pub(super) async fn get(bench: &Bench) -> Result<Outcome> {
    let site = bench.site().await?;
    let (site, names) = done_operations(bench, site).await?;
    let channel = channels(&site.address, 1).await?.remove(0);
    let request = GetOperationRequest { name: names[0].clone() };
    let answer = OperationsClient::new(channel).get_operation(request).await?.into_inner();
    let floor = EmptyServer::start(&answer.encode_to_vec(), b"").await?;
    let names: Arc<[String]> = names.into();
    let callers = async |address: &str| {
        let get =
            |channel| Get { client: OperationsClient::new(channel), names: Arc::clone(&names) };
        callers(address, IN_FLIGHT, get).await
    };
    let measured = measure(bench, &site, &floor, callers).await?;
    Ok(measured.outcome("get", 0.75, &site))
}

/// The same over HTTP/JSON.
pub(super) async fn get_http(bench: &Bench) -> Result<Outcome> {
    let site = bench.site().await?;
    let (site, names) = done_operations(bench, site).await?;
    let paths: Arc<[String]> = names.iter().map(|name| format!("/v1/{name}")).collect();
    let answer =
        GetHttp::connect(&site.address, Arc::clone(&paths), 0).await?.get(&paths[0]).await?;
    ensure!(answer.starts_with(b"{"), "that is no JSON");
    let floor = EmptyServer::start(b"", &answer).await?;
    // Fractions of seconds are written with as many digits as they need.
    let mut same_length = Vec::new();
    let mut client = GetHttp::connect(&site.address, Arc::clone(&paths), 0).await?;
    for path in &*paths {
        if client.get(path).await?.len() == answer.len() {
            same_length.push(path.clone());
        }
    }
    let paths: Arc<[String]> = same_length.into();
    let callers = async |address: &str| {
        let mut callers = Vec::with_capacity(IN_FLIGHT);
        for _ in 0..IN_FLIGHT {
            callers.push(GetHttp::connect(address, Arc::clone(&paths), answer.len()).await?);
        }
        Ok(callers)
    };
    let measured = measure(bench, &site, &floor, callers).await?;
    Ok(measured.outcome("get-http", 0.6, &site))
}

/// RunJob.
pub(super) async fn submit(bench: &Bench) -> Result<Outcome> {
    let site = bench.site().await?;
    let channel = channels(&site.address, 1).await?.remove(0);
    let answer = JobsClient::new(channel).run_job(job("later")).await?.into_inner();
    let floor = EmptyServer::start(&answer.encode_to_vec(), b"").await?;
    let callers = async |address: &str| {
        let submit = |channel| Submit { client: JobsClient::new(channel), request: job("later") };
        callers(address, IN_FLIGHT, submit).await
    };
    let measured = measure(bench, &site, &floor, callers).await?;
    if let Some(servers) = &site.servers {
        let there = servers.redis.cli(&["DBSIZE"]).await.parse::<usize>()?;
        ensure!(there > measured.calls, "{there} keys for {} operations", measured.calls);
    }
    Ok(measured.outcome("submit", 0.5, &site))
}

/// An installation with operations that are done and take about a kilobyte each.
async fn done_operations(bench: &Bench, mut site: Site) -> Result<(Site, Vec<String>)> {
    site.worker(64).await?;
    let count = bench.size(OPERATIONS, 20);
    let channels = channels(&site.address, 1).await?;
    let runs = (0..count).map(|_| run_to_end(&channels[0], job("kilobyte")));
    let mut names = Vec::with_capacity(count);
    for operation in futures::future::try_join_all(runs).await? {
        check_done(&operation)?;
        let length = operation.encoded_len();
        ensure!((900..1200).contains(&length), "an operation of {length} bytes");
        names.push(operation.name);
    }
    site.stop_workers();
    Ok((site, names))
}

/// What the rounds of a gateway's scenario gave.
struct Measured {
    rates: Rounds,
    p50: Rounds,
    p99: Rounds,
    used: BTreeMap<&'static str, f64>,
    calls: usize,
    rounds: usize,
}

/// Lets both sides warm up, and measures them by turns.
async fn measure<C: Caller>(
    bench: &Bench,
    site: &Site,
    floor: &EmptyServer,
    callers: impl AsyncFn(&str) -> Result<Vec<C>>,
) -> Result<Measured> {
    let until = |time| if bench.short { Until::Calls(4 * IN_FLIGHT) } else { Until::Time(time) };
    let (rates, p50, p99) = <(Rounds, Rounds, Rounds)>::default();
    let rounds = bench.rounds;
    let mut measured = Measured { rates, p50, p99, used: BTreeMap::new(), calls: 0, rounds };
    for address in [&site.address, &floor.address] {
        measured.calls += closed(callers(address).await?, until(WARM_UP)).await?.samples.len();
    }
    measured.calls = 0;
    for round in 0..rounds {
        let mut product = None;
        let mut empty = None;
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                let callers = callers(&site.address).await?;
                let before = site.cpu();
                let run = closed(callers, until(ROUND)).await?;
                add_used(&mut measured.used, &before, &site.cpu());
                measured.calls += run.samples.len();
                product = Some(run);
            } else {
                empty = Some(closed(callers(&floor.address).await?, until(ROUND)).await?);
            }
        }
        if let (Some(product), Some(empty)) = (product, empty) {
            measured.push(&product, &empty);
        }
    }
    Ok(measured)
}

impl Measured {
    fn push(&mut self, product: &Run, floor: &Run) {
        self.rates.push(product.rate(), floor.rate());
        let both = |part| {
            let of = |samples: &Samples| samples.percentile(part);
            (of(&product.samples), of(&floor.samples))
        };
        let ((p50, floor50), (p99, floor99)) = (both(0.5), both(0.99));
        self.p50.push(p50, floor50);
        self.p99.push(p99, floor99);
    }

    fn outcome(&self, scenario: &'static str, least: f64, site: &Site) -> Outcome {
        let figures: Vec<Figure> = vec![
            self.rates.figure("calls per second").target(Target::AtLeast(least)),
            self.p50.figure("p50, ms"),
            self.p99.figure("p99, ms"),
        ];
        Outcome::new(scenario, self.rounds, figures).with_costs(
            &self.used,
            self.calls,
            &site.peaks(),
        )
    }
}
