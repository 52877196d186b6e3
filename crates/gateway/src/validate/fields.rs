//! The rules of single fields, and what violates them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    ops::RangeInclusive,
    time::Duration,
};

use longshore_core::time::Time;
use longshore_proto::rpc::bad_request::FieldViolation;
use prost_types::{ListValue, Struct, Timestamp, Value, value::Kind};

use crate::errors::{echo, violation};

/// The shortest timeout: records count in microseconds, and nothing starts faster.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);
/// The longest wait for the first attempt.
pub(super) const MAX_QUEUE_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The longest pause between attempts.
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(24 * 60 * 60);

const MAX_LABELS: usize = 64;
const MAX_LABEL: usize = 63;
const MAX_WORKS_ON: usize = 16;
const MAX_RESOURCE: usize = 400;
const MAX_TYPE_URL: usize = 512;
/// How deep objects and lists may be nested: what is deeper no protobuf library would read again.
const MAX_DEPTH: usize = 30;

/// Collects what violates the rules.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) violations: Vec<FieldViolation>,
}

impl Fields {
    pub(super) fn violates(&mut self, field: &str, description: impl Into<String>) {
        self.violations.push(violation(field, description));
    }

    pub(super) fn parsed<T>(&mut self, field: &str, parsed: Result<T, impl Display>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                self.violates(field, error.to_string());
                None
            }
        }
    }

    pub(super) fn time(&mut self, field: &str, value: Option<&Timestamp>) -> Option<Time> {
        let time = Time::from_timestamp(value?);
        if time.is_none() {
            self.violates(field, "must be a timestamp in the years 1970 to 9999");
        }
        time
    }

    pub(super) fn span(
        &mut self,
        field: &str,
        value: Option<&prost_types::Duration>,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        // Negative ones are no std durations.
        let span = Duration::try_from(*value?).ok().filter(|span| bounds.contains(span));
        if span.is_none() {
            let (low, high) = bounds.into_inner();
            let (low, high) = (humantime::format_duration(low), humantime::format_duration(high));
            self.violates(field, format!("must be from {low} to {high}"));
        }
        span
    }

    pub(super) fn labels(&mut self, labels: &BTreeMap<String, String>) {
        if labels.len() > MAX_LABELS {
            self.violates("labels", format!("must be at most {MAX_LABELS}"));
        }
        for (key, value) in labels {
            let field = format!("labels[{}]", echo(key));
            if !is_label_key(key) {
                self.violates(
                    &field,
                    "the key must be a-z and then at most 62 of a-z, 0-9, `_`, `.`, `-`",
                );
            }
            if value.chars().count() > MAX_LABEL || value.chars().any(char::is_control) {
                self.violates(
                    &field,
                    format!("must be at most {MAX_LABEL} characters, none of them control"),
                );
            }
        }
    }

    pub(super) fn works_on(&mut self, resources: &[String]) {
        if resources.len() > MAX_WORKS_ON {
            self.violates("works_on", format!("must be at most {MAX_WORKS_ON}"));
        }
        let mut seen = BTreeSet::new();
        for (place, name) in resources.iter().enumerate() {
            let field = format!("works_on[{place}]");
            if name.is_empty() || name.len() > MAX_RESOURCE || name.chars().any(char::is_control) {
                let rule = format!("must be 1 to {MAX_RESOURCE} bytes without control characters");
                self.violates(&field, rule);
            }
            if !seen.insert(name) {
                self.violates(&field, "must be given once only");
            }
        }
    }

    pub(super) fn type_url(&mut self, field: &str, url: &str) {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
        };
        let well_formed = url.len() <= MAX_TYPE_URL
            && url.bytes().all(|b| b.is_ascii_graphic())
            && url.rsplit_once('/').is_some_and(|(_, name)| is_name(name));
        if !well_formed {
            self.violates(
                field,
                "the type URL must be like type.googleapis.com/full.name.of.Message",
            );
        }
    }

    /// The object must be JSON and not too deep.
    pub(super) fn json_object(&mut self, field: &str, object: &Struct) {
        if let Err(rule) = check_object(object, MAX_DEPTH) {
            self.violates(field, rule);
        }
    }
}

fn is_label_key(key: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
    key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.len() <= MAX_LABEL
        && key.bytes().all(legal)
}

fn check_object(object: &Struct, depth: usize) -> Result<(), String> {
    object.fields.values().try_for_each(|value| check_value(value, depth))
}

fn check_value(value: &Value, depth: usize) -> Result<(), String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("must not be nested deeper than {MAX_DEPTH}"));
    };
    match &value.kind {
        Some(Kind::StructValue(object)) => check_object(object, depth),
        Some(Kind::ListValue(ListValue { values })) => {
            values.iter().try_for_each(|value| check_value(value, depth))
        }
        Some(Kind::NumberValue(number)) if !number.is_finite() => {
            Err("has a number that JSON has not: NaN or infinity".to_owned())
        }
        Some(
            Kind::NullValue(_) | Kind::NumberValue(_) | Kind::StringValue(_) | Kind::BoolValue(_),
        ) => Ok(()),
        None => Err("has a value without a kind".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn nested(depth: usize) -> Struct {
        let mut object = Struct::default();
        for _ in 0..depth {
            let value = Value { kind: Some(Kind::StructValue(object)) };
            object = Struct { fields: [("a".to_owned(), value)].into() };
        }
        object
    }

    #[test]
    fn what_is_accepted_can_be_read_again() {
        let deepest = nested(MAX_DEPTH);
        check_object(&deepest, MAX_DEPTH).unwrap();
        // In a message in a message, as it travels to the worker.
        let wrapped = Value { kind: Some(Kind::StructValue(deepest)) };
        Value::decode(&*wrapped.encode_to_vec()).unwrap();
        check_object(&nested(MAX_DEPTH + 1), MAX_DEPTH).unwrap_err();
    }
}
