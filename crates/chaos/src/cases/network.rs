//! Networks that fail, between all processes of one role and one server.

use std::time::Duration;

use anyhow::{Result, ensure};
use longshore_testkit::Traffic;
use tokio::time::{Instant, sleep};

use crate::{
    case::{Case, Scene},
    client::Job,
    site::{Backend, PATIENCE, Role},
    stage::{MARGIN, REDELIVERY, RERUN, Stage},
};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// All connections are reset, again and again, and new ones refused in between.
    Cut,
    /// Everything takes longer, now more, now less.
    Delay,
    /// What is sent is taken, and goes nowhere; first one way, then the other, then both.
    Stall,
    /// The server is gone from all connections, and nobody says so. New connections work.
    HalfOpen,
    /// Few bytes a second.
    Drip,
}

/// How long calls that are no waits may take, whatever is broken.
const SLOWEST: Duration = Duration::from_secs(10);
/// What a role may take to find out that a server is gone without a word: two pings of NATS, ten
/// seconds apart, or five answers of Redis that did not come.
const SILENCE: Duration = Duration::from_secs(30);

macro_rules! network {
    ($($link:literal $role:ident $backend:ident: $($fault:literal $kind:ident $quick:literal),+;)+) => {
        vec![$($(
            Case {
                name: concat!("network-", $link, "-", $fault),
                invariant: "calls are answered or UNAVAILABLE within bounds; all ends once the \
                            network is back, without a restart",
                quick: $quick,
                run: |scene| Box::pin(run(scene, Role::$role, Backend::$backend, Fault::$kind)),
            },
        )+)+]
    };
}

pub(super) fn cases() -> Vec<Case> {
    network! {
        "worker-nats" Worker Nats: "cut" Cut false, "delay" Delay false, "stall" Stall true,
            "half-open" HalfOpen false, "drip" Drip false;
        "state-nats" State Nats: "cut" Cut true, "delay" Delay false, "stall" Stall false,
            "half-open" HalfOpen false, "drip" Drip false;
        "state-redis" State Redis: "cut" Cut true, "delay" Delay false, "stall" Stall false,
            "half-open" HalfOpen true, "drip" Drip false;
        "gateway-redis" Gateway Redis: "cut" Cut false, "delay" Delay false, "stall" Stall true,
            "half-open" HalfOpen true, "drip" Drip true;
        "gateway-nats" Gateway Nats: "cut" Cut false, "delay" Delay false, "stall" Stall false,
            "half-open" HalfOpen true, "drip" Drip false;
    }
}

async fn run(scene: Scene, role: Role, backend: Backend, fault: Fault) -> Result<()> {
    let names: Vec<String> =
        (1..=if role == Role::Worker { 3 } else { 2 }).map(|n| format!("{role}-{n}")).collect();
    let proxied = |plan: crate::site::Plan| {
        names.iter().fold(plan, |plan, name| plan.through_proxy(name, backend))
    };
    let mut stage = Stage::set(&scene, proxied).await?;
    let client = stage.client.clone();
    let length = scene.pick(Duration::from_secs(4), Duration::from_secs(20));
    let jobs = (0..scene.pick(60, 200)).map(|number| Job::new(number).millis(400));
    let work = async {
        let done = client.run_all(jobs, 10).await;
        done.map(|_| Instant::now())
    };
    let (ended, healed) = tokio::join!(work, async {
        sleep(Duration::from_millis(500)).await;
        break_links(&mut stage, fault, length, scene.random()).await;
        Instant::now()
    });
    let took = ended?.saturating_duration_since(healed);
    let silence = if fault == Fault::HalfOpen { SILENCE } else { Duration::ZERO };
    // What is left of the jobs takes its time as well, most of all on a loaded machine.
    let work = scene.pick(MARGIN, MARGIN * 3);
    let bound = RERUN + REDELIVERY + silence + work + MARGIN;
    scene.took("until all had ended", took, bound);
    let slowest = stage
        .site
        .history()
        .calls()
        .iter()
        .filter(|call| call.method != "WaitOperation")
        .map(|call| call.took)
        .max()
        .unwrap_or_default();
    scene.took("the slowest call", slowest, SLOWEST + MARGIN);

    // Everything works again, though nothing was restarted, before the half-open ends are reset.
    let start = Instant::now();
    client.run_all((5000..5020).map(Job::new), 10).await?;
    ensure!(start.elapsed() < PATIENCE, "it does not work as before");
    stage.settled().await
}

async fn break_links(stage: &mut Stage, fault: Fault, length: Duration, mut random: fastrand::Rng) {
    let end = Instant::now() + length;
    let traffic = Traffic::default();
    let set = |stage: &mut Stage, up: Traffic, down: Traffic| {
        use longshore_testkit::Direction::{ToClient, ToServer};
        for (_, link) in stage.site.links() {
            link.set(ToServer, up);
            link.set(ToClient, down);
        }
    };
    match fault {
        Fault::Cut => {
            while Instant::now() < end {
                for (_, link) in stage.site.links() {
                    if random.bool() { link.cut() } else { link.refuse() }
                }
                sleep(Duration::from_millis(random.u64(100..700))).await;
                for (_, link) in stage.site.links() {
                    link.heal().await;
                }
                sleep(Duration::from_millis(random.u64(100..700))).await;
            }
        }
        Fault::Delay => {
            let ms = Duration::from_millis;
            let slow = Traffic { latency: ms(150), jitter: ms(250), ..traffic };
            set(stage, slow, slow);
            sleep(length).await;
        }
        Fault::Stall => {
            let stalled = Traffic { stalled: true, ..traffic };
            for (up, down) in [(stalled, traffic), (traffic, stalled), (stalled, stalled)] {
                set(stage, up, down);
                sleep(length / 3).await;
                set(stage, traffic, traffic);
            }
        }
        Fault::HalfOpen => stage.site.links().for_each(|(_, link)| link.lose_server()),
        Fault::Drip => {
            let drip = Traffic { bytes_per_second: Some(2000), ..traffic };
            set(stage, drip, drip);
            sleep(length).await;
        }
    }
    if fault != Fault::HalfOpen {
        for (_, link) in stage.site.links() {
            link.heal().await;
        }
    }
}
