//! Going over all keys.

use redis::{RedisResult, Value, cmd};

use super::{
    RedisStore,
    error::{answer, senseless},
    keys::Pattern,
};

/// A scan over the keys of one node.
pub(super) struct Scan {
    /// The only partition that is looked for; all, unless it is a cluster.
    pub(super) partition: Option<u16>,
    pattern: String,
}

impl RedisStore {
    /// The scans that find all keys. In a cluster each partition is looked for where it lies.
    pub(super) fn patterns(&self, what: Pattern) -> Vec<Scan> {
        let partitions: Vec<Option<u16>> = if self.connection.is_cluster() {
            (0..self.keys.partitions).map(Some).collect()
        } else {
            vec![None]
        };
        let scans = partitions.into_iter().flat_map(|partition| {
            let patterns = self.keys.patterns(partition, what).into_iter();
            patterns.map(move |pattern| Scan { partition, pattern })
        });
        scans.collect()
    }
}

/// Some keys of a scan, and where to go on; 0 at its end. What is there all along is found, and may
/// be found twice.
pub(super) async fn keys(
    store: &RedisStore,
    scan: &Scan,
    cursor: u64,
    count: usize,
) -> RedisResult<(u64, Vec<String>)> {
    let mut command = cmd("SCAN");
    command.arg(cursor).arg("MATCH").arg(&scan.pattern).arg("COUNT").arg(count);
    let beside = store.keys.timer(scan.partition.unwrap_or(0));
    let (next, keys) = page(store.connection.command_beside(&beside, &command).await?)?;
    let mut keys: Vec<String> = redis::from_redis_value(keys)?;
    // Names of others may look like it.
    keys.retain(|key| {
        let named = store.keys.named(key).map(|(partition, _)| partition);
        scan.partition.is_none() || named.is_none() || named == scan.partition
    });
    Ok((next, keys))
}

/// What a scan answers: where to go on, and what it has found.
pub(super) fn page(value: Value) -> RedisResult<(u64, Value)> {
    let Value::Array(parts) = answer(value)? else { return Err(senseless()) };
    let Ok([next, found]) = <[Value; 2]>::try_from(parts) else { return Err(senseless()) };
    Ok((redis::from_redis_value(next)?, found))
}
