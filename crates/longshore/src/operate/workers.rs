//! `longshore admin workers` and `longshore admin drain`.

use std::time::Duration;

use anyhow::Result;
use longshore_core::time::span;
use longshore_proto::internal::Present;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::call::{self, Roll};
use crate::{
    cli::{Drain, ReportFormat, Workers},
    client::{complain, plain_table, say},
    exit::Exit,
};

/// How often a worker may leave the roll call unanswered before it counts as gone.
const SILENCES: u32 = 3;
/// How long between two looks at workers that drain.
const PAUSE: Duration = Duration::from_millis(500);

/// Shows who is there and what they run.
pub(super) async fn workers(args: &Workers) -> Result<Exit> {
    let bus = call::bus(&args.site).await?;
    show(args.format, &call::call(&bus, &[]).await?)?;
    Ok(Exit::Fine)
}

/// Has workers take no more work, and perhaps waits until they have none.
pub(super) async fn drain(args: &Drain) -> Result<Exit> {
    let bus = call::bus(&args.site).await?;
    let is_meant = |present: &Present| {
        args.workers.iter().any(|worker| {
            *worker == present.worker || Some(&**worker) == present.worker.split('.').next()
        })
    };
    let mut found: Roll = call::call(&bus, &args.workers).await?;
    found.retain(|_, present| is_meant(present));
    let missing: Vec<&String> = args
        .workers
        .iter()
        .filter(|worker| {
            !found.keys().any(|it| it == *worker || it.split('.').next() == Some(worker))
        })
        .collect();
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.iter().map(|worker| worker.as_str()).collect();
        complain(&format!("no worker answers to {}", missing.join(", ")))?;
        return Ok(Exit::NotFound);
    }
    if !args.wait {
        found.keys().try_for_each(|worker| say(&format!("{worker} drains")))?;
        return Ok(Exit::Fine);
    }
    let instances: Vec<String> = found.into_keys().collect();
    let mut open: Vec<(String, u32)> = instances.iter().map(|worker| (worker.clone(), 0)).collect();
    while !open.is_empty() {
        sleep(PAUSE).await;
        // Told again, should the first call have been lost on its way to one of them.
        let roll = call::call(&bus, &instances).await?;
        for (worker, silences) in &mut open {
            *silences = match roll.get(worker) {
                Some(present) if present.draining && is_idle(present) => SILENCES,
                Some(_) => 0,
                None => *silences + 1,
            };
        }
        let (ended, rest) =
            open.into_iter().partition(|(_, silences): &(String, u32)| *silences >= SILENCES);
        open = rest;
        for (worker, _) in ended as Vec<(String, u32)> {
            say(&format!("{worker} has drained"))?;
        }
    }
    Ok(Exit::Fine)
}

fn is_idle(present: &Present) -> bool {
    present.queues.iter().all(|queue| queue.running == 0) && present.attempts.is_empty()
}

fn show(format: ReportFormat, roll: &Roll) -> Result<()> {
    if format == ReportFormat::Json {
        let workers: Vec<Value> = roll.values().map(to_json).collect();
        say(&format!("{:#}", Value::Array(workers)))?;
        return Ok(());
    }
    let mut rows = Vec::new();
    let mut attempts = Vec::new();
    for present in roll.values() {
        for queue in &present.queues {
            rows.push([
                present.worker.clone(),
                present.version.clone(),
                state(present).to_owned(),
                queue.job_type.clone(),
                format!("{} of {}", queue.running, queue.slots),
                queue.started.to_string(),
            ]);
        }
        for attempt in &present.attempts {
            attempts.push([
                attempt.id.clone(),
                attempt.job_type.clone(),
                attempt.attempt.to_string(),
                present.worker.clone(),
                seconds(attempt.running_for),
            ]);
        }
    }
    say(&plain_table(["WORKER", "VERSION", "STATE", "TYPE", "RUNNING", "STARTED"], rows))?;
    if !attempts.is_empty() {
        say("")?;
        say(&plain_table(["OPERATION", "TYPE", "ATTEMPT", "WORKER", "FOR"], attempts))?;
    }
    Ok(())
}

fn state(present: &Present) -> &'static str {
    if present.draining { "draining" } else { "ready" }
}

fn seconds(micros: i64) -> String {
    let whole = Duration::from_secs(span(micros).as_secs());
    humantime::format_duration(whole).to_string()
}

fn to_json(present: &Present) -> Value {
    let queues = present.queues.iter().map(|queue| {
        json!({
            "jobType": queue.job_type,
            "slots": queue.slots,
            "running": queue.running,
            "started": queue.started,
        })
    });
    let attempts = present.attempts.iter().map(|attempt| {
        json!({
            "id": attempt.id,
            "attempt": attempt.attempt,
            "jobType": attempt.job_type,
            "runningForSeconds": span(attempt.running_for).as_secs_f64(),
        })
    });
    json!({
        "worker": present.worker,
        "version": present.version,
        "state": state(present),
        "slots": if present.slots == 0 { Value::Null } else { present.slots.into() },
        "queues": queues.collect::<Value>(),
        "attempts": attempts.collect::<Value>(),
    })
}
