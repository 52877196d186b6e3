//! Whether a record is what a filter asks for.

use std::{cell::OnceCell, cmp::Ordering};

use serde_json::Value as Json;

use super::{
    Expression,
    field::{Check, Field, Test},
    parse::Operator,
    value::{self, Value},
};
use crate::{
    json,
    record::{Outcome, Record, State},
    time::Time,
    view,
};

/// A record, and what of it is only worked out if the filter asks.
pub(super) struct Subject<'a> {
    record: &'a Record,
    metadata: OnceCell<Json>,
    response: OnceCell<Json>,
}

/// What a field holds.
enum Found<'a> {
    Unset,
    /// Set, but nothing to compare with.
    Set,
    Text(&'a str),
    Texts(&'a [String]),
    Bool(bool),
    Number(f64),
    /// Nanoseconds since 1970.
    Time(i128),
    Json(&'a Json, &'a [String]),
}

impl<'a> Subject<'a> {
    pub(super) fn new(record: &'a Record) -> Self {
        Self { record, metadata: OnceCell::new(), response: OnceCell::new() }
    }

    fn metadata(&self) -> &Json {
        self.metadata.get_or_init(|| json::any_to_json(&view::pack(&view::metadata(self.record))))
    }

    /// Null if there is none.
    fn response(&self) -> &Json {
        self.response.get_or_init(|| match &self.record.state {
            State::Done(done) => match &done.outcome {
                Outcome::Response(payload) => json::any_to_json(&view::any(payload)),
                Outcome::Error(_) => Json::Null,
            },
            State::Queued(_) | State::Running(_) => Json::Null,
        })
    }

    fn error(&self) -> Option<&'a longshore_proto::rpc::Status> {
        match &self.record.state {
            State::Done(done) => match &done.outcome {
                Outcome::Response(_) => None,
                Outcome::Error(status) => Some(status),
            },
            State::Queued(_) | State::Running(_) => None,
        }
    }

    fn done(&self) -> Option<&'a crate::record::Done> {
        match &self.record.state {
            State::Done(done) => Some(done),
            State::Queued(_) | State::Running(_) => None,
        }
    }
}

pub(super) fn matches(expression: &Expression, subject: &Subject<'_>) -> bool {
    match expression {
        Expression::And(all) => all.iter().all(|one| matches(one, subject)),
        Expression::Or(any) => any.iter().any(|one| matches(one, subject)),
        Expression::Not(one) => !matches(one, subject),
        Expression::Is(test) => is(test, subject),
    }
}

fn is(test: &Test, subject: &Subject<'_>) -> bool {
    let record = subject.record;
    let name;
    let found = match &test.field {
        Field::Name => {
            name = record.name().to_string();
            Found::Text(&name)
        }
        Field::OperationId => Found::Text(record.id.as_str()),
        Field::JobType => Found::Text(record.job.job_type.as_str()),
        Field::Worker if record.worker.is_empty() => Found::Unset,
        Field::Worker => Found::Text(&record.worker),
        Field::Label(key) => {
            record.job.labels.get(key).map_or(Found::Unset, |label| Found::Text(label))
        }
        Field::WorksOn => Found::Texts(&record.job.works_on),
        Field::Done => Found::Bool(record.is_done()),
        Field::State => Found::Text(view::shown(record).as_str_name()),
        Field::Priority => Found::Text(record.job.priority.as_str_name()),
        Field::Attempt => Found::Number(f64::from(record.attempt)),
        Field::CreateTime => time(Some(record.create_time)),
        Field::UpdateTime => time(Some(record.update_time)),
        Field::StartTime => time(record.start_time),
        Field::EndTime => time(subject.done().map(|done| done.end_time)),
        Field::ExpireTime => time(subject.done().map(|done| done.expire_time)),
        Field::Error => subject.error().map_or(Found::Unset, |_| Found::Set),
        Field::ErrorCode => {
            subject.error().map_or(Found::Unset, |error| Found::Number(error.code.into()))
        }
        Field::ErrorMessage => {
            subject.error().map_or(Found::Unset, |error| Found::Text(&error.message))
        }
        Field::Metadata(path) => Found::Json(subject.metadata(), path),
        Field::Response(path) => Found::Json(subject.response(), path),
    };
    match &test.check {
        Check::IsSet => is_set(&found),
        Check::Compare(operator, value) => compare(&found, *operator, value),
    }
}

fn time(time: Option<Time>) -> Found<'static> {
    time.map_or(Found::Unset, |time| Found::Time(i128::from(time.as_micros()) * 1000))
}

fn is_set(found: &Found<'_>) -> bool {
    match found {
        Found::Unset => false,
        Found::Texts(texts) => !texts.is_empty(),
        Found::Json(json, path) => any_at(json, path, true, &|leaf| match leaf {
            Json::Null => false,
            Json::Array(items) => !items.is_empty(),
            Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => true,
        }),
        Found::Set | Found::Text(_) | Found::Bool(_) | Found::Number(_) | Found::Time(_) => true,
    }
}

fn compare(found: &Found<'_>, operator: Operator, value: &Value) -> bool {
    match found {
        Found::Unset | Found::Set => false,
        Found::Text(text) => compare_text(text, operator, value),
        Found::Texts(texts) => compare_all(texts, operator, |text| value.equals(text)),
        Found::Bool(bool) => value.bool.is_some_and(|value| ordered(bool.cmp(&value), operator)),
        Found::Number(number) => compare_number(*number, operator, value.number),
        Found::Time(time) => value.time.is_some_and(|value| ordered(time.cmp(&value), operator)),
        Found::Json(json, path) => any_at(json, path, operator == Operator::Has, &|leaf| {
            compare_json(leaf, operator, value)
        }),
    }
}

/// `=` and `:` ask for any of them, `!=` for none, if there are some at all.
fn compare_all<T>(all: &[T], operator: Operator, equals: impl Fn(&T) -> bool) -> bool {
    match operator {
        Operator::Equal | Operator::Has => all.iter().any(equals),
        Operator::NotEqual => !all.is_empty() && !all.iter().any(equals),
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            false
        }
    }
}

fn compare_text(text: &str, operator: Operator, value: &Value) -> bool {
    match operator {
        Operator::Equal => value.equals(text),
        Operator::NotEqual => !value.equals(text),
        Operator::Has => value.is_in(text),
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            ordered(text.cmp(&value.text), operator)
        }
    }
}

fn compare_number(number: f64, operator: Operator, value: Option<f64>) -> bool {
    let order = value.and_then(|value| number.partial_cmp(&value));
    order.is_some_and(|order| ordered(order, operator))
}

fn ordered(order: Ordering, operator: Operator) -> bool {
    match operator {
        Operator::Equal | Operator::Has => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
    }
}

/// Follows a path. Only `:` goes through arrays, and then any of the items will do.
fn any_at(
    json: &Json,
    path: &[String],
    through_arrays: bool,
    holds: &dyn Fn(&Json) -> bool,
) -> bool {
    let Some((key, rest)) = path.split_first() else {
        return holds(json);
    };
    match json {
        Json::Object(object) => {
            let value = object.get(key).or_else(|| object.get(&camel_case(key)));
            value.is_some_and(|value| any_at(value, rest, through_arrays, holds))
        }
        Json::Array(items) => {
            through_arrays && items.iter().any(|item| any_at(item, path, through_arrays, holds))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

fn camel_case(key: &str) -> String {
    let mut camel = String::with_capacity(key.len());
    let mut is_after_underscore = false;
    for char in key.chars() {
        if char == '_' {
            is_after_underscore = true;
        } else {
            camel.push(if is_after_underscore { char.to_ascii_uppercase() } else { char });
            is_after_underscore = false;
        }
    }
    camel
}

fn compare_json(leaf: &Json, operator: Operator, value: &Value) -> bool {
    match leaf {
        Json::Null => false,
        Json::Bool(bool) => match operator {
            Operator::Equal | Operator::NotEqual | Operator::Has => {
                value.bool.is_some_and(|value| ordered(bool.cmp(&value), operator))
            }
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => false,
        },
        Json::Number(number) => {
            number.as_f64().is_some_and(|number| compare_number(number, operator, value.number))
        }
        Json::String(text) => compare_json_text(text, operator, value),
        Json::Array(items) => {
            compare_all(items, operator, |item| compare_json(item, Operator::Equal, value))
        }
        Json::Object(object) => operator == Operator::Has && object.contains_key(&value.text),
    }
}

/// JSON has times, durations and 64-bit numbers as text: they compare as what they are, if both
/// sides are.
fn compare_json_text(text: &str, operator: Operator, value: &Value) -> bool {
    if operator == Operator::Has {
        return value.is_in(text);
    }
    if let (Some(left), Some(right)) = (value::time(text), value.time) {
        return ordered(left.cmp(&right), operator);
    }
    if let (Some(left), Some(right)) = (value::duration(text), value.duration) {
        return compare_number(left, operator, Some(right));
    }
    if let (Some(left), Some(right)) = (value::number(text), value.number) {
        return compare_number(left, operator, Some(right));
    }
    compare_text(text, operator, value)
}
