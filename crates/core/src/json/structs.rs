//! JSON in protobuf: `Struct`, `Value` and `ListValue`.

use prost_types::{ListValue, Struct, Value as Message, value::Kind};
use serde_json::{Map, Number, Value};

use super::Error;

/// How many messages may lie in each other: what protobuf's own readers accept by default.
const MAX_MESSAGES: usize = 100;

/// Doubles up to here hold each integer exactly.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// `None` if it holds a number that JSON doesn't have.
pub(super) fn write(message: Struct) -> Option<Value> {
    let fields = message.fields.into_iter().map(|(key, value)| Some((key, write_value(value)?)));
    fields.collect::<Option<Map<_, _>>>().map(Value::Object)
}

pub(super) fn write_list(message: ListValue) -> Option<Value> {
    message.values.into_iter().map(write_value).collect()
}

pub(super) fn write_value(message: Message) -> Option<Value> {
    match message.kind {
        None | Some(Kind::NullValue(_)) => Some(Value::Null),
        Some(Kind::BoolValue(value)) => Some(Value::Bool(value)),
        Some(Kind::NumberValue(value)) => write_number(value).map(Value::Number),
        Some(Kind::StringValue(value)) => Some(Value::String(value)),
        Some(Kind::ListValue(list)) => write_list(list),
        Some(Kind::StructValue(inner)) => write(inner),
    }
}

/// A whole number without a fraction: `3`, as it most likely was written, not `3.0`.
pub(super) fn write_number(value: f64) -> Option<Number> {
    let is_whole = value.fract() == 0.0 && value.abs() <= MAX_EXACT;
    let is_negative_zero = value == 0.0 && value.is_sign_negative();
    if is_whole && !is_negative_zero {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

pub(super) fn read(value: Value) -> Result<Struct, Error> {
    match value {
        Value::Object(object) => read_object(object, MAX_MESSAGES),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let source = serde::de::Error::custom("must be a JSON object");
            Err(Error::Mismatch { type_name: "google.protobuf.Struct".into(), source })
        }
    }
}

pub(super) fn read_value(value: Value) -> Result<Message, Error> {
    read_inner(value, MAX_MESSAGES)
}

pub(super) fn read_list(value: Value) -> Result<ListValue, Error> {
    match value {
        Value::Array(values) => read_array(values, MAX_MESSAGES),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            let source = serde::de::Error::custom("must be a JSON array");
            Err(Error::Mismatch { type_name: "google.protobuf.ListValue".into(), source })
        }
    }
}

fn read_object(object: Map<String, Value>, left: usize) -> Result<Struct, Error> {
    // An entry of the map is a message as well.
    let left = left.checked_sub(2).ok_or(Error::TooDeep)?;
    let fields = object.into_iter().map(|(key, value)| Ok((key, read_inner(value, left)?)));
    Ok(Struct { fields: fields.collect::<Result<_, Error>>()? })
}

fn read_array(values: Vec<Value>, left: usize) -> Result<ListValue, Error> {
    let left = left.checked_sub(1).ok_or(Error::TooDeep)?;
    let values = values.into_iter().map(|value| read_inner(value, left));
    Ok(ListValue { values: values.collect::<Result<_, _>>()? })
}

fn read_inner(value: Value, left: usize) -> Result<Message, Error> {
    let left = left.checked_sub(1).ok_or(Error::TooDeep)?;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        // Without arbitrary precision, each number of serde_json is within a double's range.
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(value) => Kind::StringValue(value),
        Value::Array(values) => Kind::ListValue(read_array(values, left)?),
        Value::Object(object) => Kind::StructValue(read_object(object, left)?),
    };
    Ok(Message { kind: Some(kind) })
}
