//! The metadata of our own operations. A field that is added to the message is added here as well;
//! the pattern in [`fields`] sees to that.

use longshore_proto::v1::{OperationMetadata, Priority, Progress, operation_metadata::State};
use prost_types::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{WithDepth, timestamp::Text};
use crate::json::write;

/// Whether JSON has a form for all of it.
pub(super) fn is_expressible(metadata: &OperationMetadata) -> bool {
    let times = [
        &metadata.create_time,
        &metadata.schedule_time,
        &metadata.start_time,
        &metadata.update_time,
        &metadata.end_time,
        &metadata.expire_time,
    ];
    times.into_iter().flatten().all(Text::is_possible)
}

/// Writes what is set.
pub(super) fn fields<M: SerializeMap>(
    map: &mut M,
    metadata: &OperationMetadata,
    left: usize,
) -> Result<(), M::Error> {
    let OperationMetadata {
        state,
        job_type,
        create_time,
        schedule_time,
        start_time,
        update_time,
        end_time,
        expire_time,
        progress,
        attempt,
        max_attempts,
        last_error,
        cancel_requested,
        labels,
        works_on,
        priority,
        worker,
        trace_id,
        details,
    } = metadata;
    choice(map, "state", *state, State::try_from(*state).ok().map(|state| state.as_str_name()))?;
    text(map, "jobType", job_type)?;
    time(map, "createTime", create_time.as_ref())?;
    time(map, "scheduleTime", schedule_time.as_ref())?;
    time(map, "startTime", start_time.as_ref())?;
    time(map, "updateTime", update_time.as_ref())?;
    time(map, "endTime", end_time.as_ref())?;
    time(map, "expireTime", expire_time.as_ref())?;
    if let Some(progress) = progress {
        map.serialize_entry("progress", &Form(progress))?;
    }
    number(map, "attempt", *attempt)?;
    number(map, "maxAttempts", *max_attempts)?;
    if let Some(message) = last_error {
        map.serialize_entry("lastError", &WithDepth { message, left: left - 2 })?;
    }
    if *cancel_requested {
        map.serialize_entry("cancelRequested", cancel_requested)?;
    }
    if !labels.is_empty() {
        map.serialize_entry("labels", labels)?;
    }
    if !works_on.is_empty() {
        map.serialize_entry("worksOn", works_on)?;
    }
    let name = Priority::try_from(*priority).ok().map(|priority| priority.as_str_name());
    choice(map, "priority", *priority, name)?;
    text(map, "worker", worker)?;
    text(map, "traceId", trace_id)?;
    if let Some(message) = details {
        map.serialize_entry("details", &WithDepth { message, left: left - 1 })?;
    }
    Ok(())
}

struct Form<'a, M>(&'a M);

impl Serialize for Form<'_, Progress> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Progress { percent, completed_units, total_units, unit, message } = self.0;
        let mut map = serializer.serialize_map(None)?;
        if let Some(percent) = percent {
            map.serialize_entry("percent", &write::double(*percent))?;
        }
        for (key, units) in [("completedUnits", *completed_units), ("totalUnits", *total_units)] {
            if units != 0 {
                map.serialize_entry(key, &format_args!("{units}"))?;
            }
        }
        text(&mut map, "unit", unit)?;
        text(&mut map, "message", message)?;
        map.end()
    }
}

fn text<M: SerializeMap>(map: &mut M, key: &'static str, text: &str) -> Result<(), M::Error> {
    if text.is_empty() { Ok(()) } else { map.serialize_entry(key, text) }
}

fn number<M: SerializeMap>(map: &mut M, key: &'static str, number: i32) -> Result<(), M::Error> {
    if number == 0 { Ok(()) } else { map.serialize_entry(key, &number) }
}

fn time<M: SerializeMap>(
    map: &mut M,
    key: &'static str,
    time: Option<&Timestamp>,
) -> Result<(), M::Error> {
    time.map_or(Ok(()), |time| map.serialize_entry(key, Text::new(time).as_str()))
}

/// An enum's value. One without a name comes from a newer version and stays a number.
fn choice<M: SerializeMap>(
    map: &mut M,
    key: &'static str,
    number: i32,
    name: Option<&str>,
) -> Result<(), M::Error> {
    match name {
        _ if number == 0 => Ok(()),
        Some(name) => map.serialize_entry(key, name),
        None => map.serialize_entry(key, &number),
    }
}
