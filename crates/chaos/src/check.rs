//! What has to hold once everything is healed, whatever was broken.
//!
//! Every acknowledged operation is done, with one outcome, the right one, which is the same on each
//! read of each gateway; an acknowledged cancellation or deletion has been honoured; attempts of one
//! operation did not overlap; lists show what reads show; what is in the store agrees with itself;
//! nothing is left in the streams; and no role has kept memory or files.

mod operations;
mod store;
mod streams;
mod usage;

use anyhow::{Result, ensure};
use longshore_testkit::{NatsServer, RedisServer};

use crate::{case::Scene, site::Site};
pub use usage::Baseline;

/// Where the servers are that the checks ask.
#[derive(Clone, Debug)]
pub struct Servers {
    /// The ports of all Redis servers on this machine that hold records: the masters.
    pub redis: Vec<u16>,
    /// The URL of NATS; several are separated by commas.
    pub nats: String,
}

impl Servers {
    /// One of each.
    pub fn of(redis: &RedisServer, nats: &NatsServer) -> Self {
        Self { redis: vec![redis.port()], nats: nats.url() }
    }
}

/// Exceptions from what has to hold always.
#[derive(Clone, Debug, Default)]
pub struct Except {
    /// Operations whose attempts may have overlapped: a frozen worker can't stop its children.
    pub overlap: Vec<String>,
    /// What the roles took before, if it is to be compared.
    pub baseline: Option<Baseline>,
}

/// Heals the site, waits until all that was accepted has ended, and checks everything.
///
/// # Errors
/// Says what does not hold.
pub async fn settled(scene: &Scene, site: &mut Site, servers: &Servers) -> Result<()> {
    settled_except(scene, site, servers, &Except::default()).await
}

/// The same, but for some exceptions.
///
/// # Errors
/// Says what does not hold.
pub async fn settled_except(
    scene: &Scene,
    site: &mut Site,
    servers: &Servers,
    except: &Except,
) -> Result<()> {
    site.heal().await?;
    operations::check(site).await?;
    site.attempts().check_apart(&except.overlap)?;
    store::check(site, servers).await?;
    streams::check(servers).await?;
    if let Some(baseline) = &except.baseline {
        usage::check(scene, site, baseline).await?;
    }
    let wrong = site.history().wrong();
    ensure!(wrong.is_empty(), "clients were told what can't be:\n{}", wrong.join("\n"));
    Ok(())
}
