//! `list`: a page among few and among very many operations.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_core::{names::Parent, time::Time};
use longshore_proto::longrunning::{ListOperationsRequest, operations_client::OperationsClient};
use tokio::time::Instant;
use tonic::transport::Channel;

use super::Bench;
use crate::{
    client::channels,
    fill,
    lives::Mould,
    part::worker::micros_now,
    report::{Figure, Outcome, Target},
    site::Servers,
    stats::{Samples, median},
};

/// How many operations a page has.
const PAGE: usize = 50;
/// Which page is far behind.
const FAR: usize = 1000;
/// How often each page is asked for in a round.
const CALLS: usize = 40;
const DAY: i64 = 86_400_000_000;

/// One page: which list, and from where on.
struct Page {
    kind: &'static str,
    request: ListOperationsRequest,
    medians: Vec<f64>,
}

/// The largest time of a page by the smallest, of each kind of list.
pub(super) async fn list(bench: &Bench) -> Result<Outcome> {
    let site = bench.real(1, &[]).await?;
    let servers = site.servers.as_ref().context("there are no servers")?;
    let channel = channels(&site.address, 1).await?.remove(0);
    let mut client = OperationsClient::new(channel);
    let mut pages = Vec::new();
    for (full, short) in [(1000, 200), (100_000, 300), (1_000_000, 400)] {
        let count = bench.large(full, short).max(200);
        fill(servers, full, count).await?;
        for (kind, filter) in kinds(full) {
            pages.extend(first_and_far(&mut client, kind, full, filter).await?);
        }
    }
    let calls = bench.size(CALLS, 2);
    // The first round warms up.
    for round in 0..=bench.rounds {
        let mut samples: Vec<Samples> = pages.iter().map(|_| Samples::default()).collect();
        // In turns, so that what else the machine does slows all of them alike.
        for _ in 0..calls {
            for (page, samples) in pages.iter().zip(&mut samples) {
                samples.push(ask(&mut client, &page.request).await?);
            }
        }
        if round > 0 {
            for (page, samples) in pages.iter_mut().zip(samples) {
                page.medians.push(samples.percentile(0.5));
            }
        }
    }
    let mut figures: Vec<Figure> = kinds(0).map(|(kind, _)| figure(kind, &pages)).into();
    figures.sort_by(|a, b| f64::total_cmp(&b.ratio.unwrap_or(0.0), &a.ratio.unwrap_or(0.0)));
    Ok(Outcome::new("list", bench.rounds, figures))
}

/// The kinds of lists, with their filters.
fn kinds(size: usize) -> [(&'static str, String); 3] {
    [
        ("plain", String::new()),
        ("done=false", "done=false".to_owned()),
        ("by works_on", format!("works_on=\"{}\"", resource(size))),
    ]
}

fn parent(size: usize) -> String {
    format!("sizes/{size}")
}

fn resource(size: usize) -> String {
    format!("things/{size}")
}

fn figure(kind: &str, pages: &[Page]) -> Figure {
    let times =
        || pages.iter().filter(|page| page.kind == kind).map(|page| median(page.medians.clone()));
    let (largest, smallest) = (times().fold(0.0, f64::max), times().fold(f64::MAX, f64::min));
    Figure::new(format!("{kind}: slowest page, by the fastest, ms"), largest)
        .against(smallest, largest / smallest)
        .target(Target::AtMost(1.3))
}

/// So many operations under a parent, all on one resource, every second done.
async fn fill(servers: &Servers, size: usize, count: usize) -> Result<()> {
    let store = servers.store().await?;
    let mut mould = Mould::new("noop", 100)?;
    mould.parent = Parent::parse(&parent(size))?;
    mould.job.works_on = vec![resource(size)];
    let mut left = count;
    while left > 0 {
        let mut changes = Vec::new();
        for number in 0..left.min(20_000) {
            mould.job.schedule_time =
                (number % 2 == 0).then(|| Time::from_micros(micros_now() + DAY));
            changes.push(match number % 2 {
                0 => mould.submission()?.change,
                _ => mould.finished()?,
            });
        }
        left -= changes.len();
        fill::commit(&store, changes).await?;
    }
    Ok(())
}

/// The first page, and the thousandth or the last full one.
async fn first_and_far(
    client: &mut OperationsClient<Channel>,
    kind: &'static str,
    size: usize,
    filter: String,
) -> Result<[Page; 2]> {
    let request = ListOperationsRequest {
        name: parent(size),
        filter,
        page_size: PAGE as i32,
        ..ListOperationsRequest::default()
    };
    let mut far = request.clone();
    for _ in 1..FAR {
        let page = client.list_operations(far.clone()).await?.into_inner();
        let next = ListOperationsRequest { page_token: page.next_page_token, ..request.clone() };
        if next.page_token.is_empty() || !is_full(client, &next).await? {
            break;
        }
        far = next;
    }
    Ok([request, far].map(|request| Page { kind, request, medians: Vec::new() }))
}

async fn is_full(
    client: &mut OperationsClient<Channel>,
    request: &ListOperationsRequest,
) -> Result<bool> {
    Ok(client.list_operations(request.clone()).await?.into_inner().operations.len() == PAGE)
}

/// How long a page takes.
async fn ask(
    client: &mut OperationsClient<Channel>,
    request: &ListOperationsRequest,
) -> Result<Duration> {
    let start = Instant::now();
    let page = client.list_operations(request.clone()).await?.into_inner();
    let elapsed = start.elapsed();
    ensure!(page.operations.len() == PAGE, "a page of {}", page.operations.len());
    Ok(elapsed)
}
