//! Processes whose clock is wrong.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, bail, ensure};

use crate::{
    case,
    case::{Case, Scene, Skipped},
    client::{Job, metadata},
    site::{Plan, Role},
    stage::Stage,
};

pub(super) fn cases() -> Vec<Case> {
    vec![case!(
        "clock-of-one-process-ten-minutes-off",
        true,
        ten_minutes,
        "no attempt is lost, and all times are those of the store's clock"
    )]
}

/// What times may differ by on one machine: how long the case takes.
const APART: i64 = 120;

async fn ten_minutes(scene: Scene) -> Result<()> {
    let Some(library) = libfaketime() else {
        bail!(Skipped("libfaketime is not installed (apt-get install libfaketime)".to_owned()));
    };
    // Long enough that no load makes a worker lose one, short enough to be renewed.
    let patient = |plan: Plan| plan.set("LONGSHORE_RULES__LEASE", "10s");
    let mut stage = Stage::set(&scene, patient).await?;
    let library = library.to_string_lossy();
    let mut attempts = 0;
    for (turn, role) in Role::ALL.into_iter().enumerate() {
        let name = format!("{role}-1");
        let offset = if scene.random().bool() { "+10m" } else { "-10m" };
        let variables = [
            ("LD_PRELOAD", &*library),
            ("FAKETIME", offset),
            // What counts spans is not a clock that can be set.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        stage.site.set_variables(&name, &variables);
        stage.site.restart(&name);
        if role == Role::Gateway {
            stage.site.served(&name).await;
        }
        let first = 100 * u32::try_from(turn)?;
        let jobs = (first..first + 12).map(|number| Job::new(number).millis(4500));
        for operation in stage.client.run_all(jobs, 12).await? {
            let metadata = metadata(&operation)?;
            attempts = attempts.max(metadata.attempt);
            let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
            for time in [metadata.create_time, metadata.start_time, metadata.end_time] {
                let seconds = time.map_or(0, |time| time.seconds);
                ensure!((now - seconds).abs() < APART, "{name} is {offset}: {metadata:?}");
            }
        }
        stage.site.set_variables(&name, &[]);
        stage.site.restart(&name);
    }
    scene.cost("a job ran", f64::from(attempts), 1.0, "times");
    stage.settled().await
}

/// Where Debian and others put it.
fn libfaketime() -> Option<PathBuf> {
    let machine = format!("/usr/lib/{}-linux-gnu/faketime", std::env::consts::ARCH);
    [&*machine, "/usr/lib64/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime"]
        .map(|folder| Path::new(folder).join("libfaketimeMT.so.1"))
        .into_iter()
        .find(|file| file.is_file())
}
