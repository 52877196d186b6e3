//! What roles take of the machine.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use longshore_testkit::eventually;

use crate::{
    case::Scene,
    site::{PATIENCE, Site, Usage},
};

/// How many more files a role may have open at the end: a connection more to each client.
const MORE_FILES: u64 = 8;
/// How much more memory a role may have at the end, in KiB: what its allocator keeps.
const MORE_MEMORY: u64 = 48 * 1024;

/// What roles took at some time, with their processes: a restarted one is another.
#[derive(Clone, Debug)]
pub struct Baseline(BTreeMap<String, (Option<u32>, Usage)>);

impl Baseline {
    /// What they take now.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn of(site: &Site) -> Result<Self> {
        let usage = site.usage()?;
        Ok(Self(usage.into_iter().map(|(n, usage)| (n.clone(), (site.pid(&n), usage))).collect()))
    }
}

/// Waits until no role has more than it may.
pub(super) async fn check(scene: &Scene, site: &Site, baseline: &Baseline) -> Result<()> {
    let more = eventually(PATIENCE.min(Duration::from_secs(30)), || async {
        let usage = site.usage().map_err(|error| format!("{error:#}"))?;
        let mut most = Usage { memory: 0, files: 0 };
        for (name, now) in usage {
            let Some((pid, before)) = baseline.0.get(&name) else { continue };
            if *pid != site.pid(&name) {
                continue;
            }
            let files = now.files.saturating_sub(before.files);
            let memory = now.memory.saturating_sub(before.memory);
            if files > MORE_FILES || memory > MORE_MEMORY {
                return Err(format!("{name} took {before:?} and takes {now:?}"));
            }
            most = Usage { memory: most.memory.max(memory), files: most.files.max(files) };
        }
        Ok(most)
    })
    .await;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    scene.cost("memory more", (more.memory / 1024) as f64, (MORE_MEMORY / 1024) as f64, "MiB");
    Ok(())
}
