//! From messages to JSON. `None` stands for what JSON has no form for; the Any around it then takes
//! the opaque form.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use prost_reflect::{
    DynamicMessage, Kind, MapKey, ReflectMessage, SerializeOptions, Value as Field,
};
use prost_types::{ListValue, Struct};
use serde_json::{Map, Value};

use super::{has_own_form, is_wrapper, pool, structs};

pub(super) fn any(type_url: &str, value: &[u8], left: usize) -> Value {
    if type_url.is_empty() && value.is_empty() {
        return Value::Object(Map::new());
    }
    let mut object = Map::new();
    object.insert("@type".into(), type_url.into());
    match known(type_url, value, left) {
        Some(Form::Own(form)) => {
            object.insert("value".into(), form);
        }
        Some(Form::Fields(fields)) => object.extend(fields),
        None => {
            object.insert("value".into(), BASE64_STANDARD.encode(value).into());
        }
    }
    Value::Object(object)
}

enum Form {
    Own(Value),
    Fields(Map<String, Value>),
}

fn known(type_url: &str, value: &[u8], left: usize) -> Option<Form> {
    let left = left.checked_sub(1)?;
    let (_, name) = type_url.rsplit_once('/')?;
    let message = DynamicMessage::decode(pool().get_message_by_name(name)?, value).ok()?;
    if has_own_form(name) {
        self::message(&message, left).map(Form::Own)
    } else {
        fields(&message, left).map(Form::Fields)
    }
}

pub(super) fn message(message: &DynamicMessage, left: usize) -> Option<Value> {
    let left = left.checked_sub(1)?;
    let descriptor = message.descriptor();
    match descriptor.full_name() {
        "google.protobuf.Any" => {
            let type_url = message.get_field_by_number(1)?;
            let value = message.get_field_by_number(2)?;
            Some(any(type_url.as_str()?, value.as_bytes()?, left))
        }
        "google.protobuf.Struct" => structs::write(message.transcode_to::<Struct>().ok()?),
        "google.protobuf.ListValue" => {
            structs::write_list(message.transcode_to::<ListValue>().ok()?)
        }
        "google.protobuf.Value" => {
            structs::write_value(message.transcode_to::<prost_types::Value>().ok()?)
        }
        name if is_wrapper(name) => {
            let field = descriptor.get_field(1)?;
            one(&message.get_field(&field), &field.kind(), left)
        }
        name if has_own_form(name) => message
            .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
            .ok(),
        _ => fields(message, left).map(Value::Object),
    }
}

/// The fields that are not at their default, in the order of their numbers.
fn fields(message: &DynamicMessage, left: usize) -> Option<Map<String, Value>> {
    let fields = message.fields().map(|(field, value)| {
        let json = match value {
            Field::List(items) => items.iter().map(|item| one(item, &field.kind(), left)).collect(),
            Field::Map(entries) => {
                let Kind::Message(entry) = field.kind() else {
                    return None;
                };
                let kind = entry.map_entry_value_field().kind();
                let sorted: BTreeMap<String, &Field> =
                    entries.iter().map(|(key, value)| (key_text(key), value)).collect();
                let entries =
                    sorted.into_iter().map(|(key, value)| Some((key, one(value, &kind, left)?)));
                entries.collect::<Option<Map<_, _>>>().map(Value::Object)
            }
            single => one(single, &field.kind(), left),
        };
        Some((field.json_name().to_owned(), json?))
    });
    fields.collect()
}

fn one(value: &Field, kind: &Kind, left: usize) -> Option<Value> {
    match value {
        Field::Bool(value) => Some(Value::Bool(*value)),
        Field::I32(value) => Some((*value).into()),
        Field::U32(value) => Some((*value).into()),
        Field::I64(value) => Some(value.to_string().into()),
        Field::U64(value) => Some(value.to_string().into()),
        // Through text, so that 0.1 stays 0.1 and does not become 0.10000000149011612.
        Field::F32(value) => Some(double(value.to_string().parse().ok()?)),
        Field::F64(value) => Some(double(*value)),
        Field::String(value) => Some(value.as_str().into()),
        Field::Bytes(value) => Some(BASE64_STANDARD.encode(value).into()),
        Field::EnumNumber(number) => Some(enum_name(*number, kind)),
        Field::Message(inner) => message(inner, left),
        // Neither is ever inside the other.
        Field::List(_) | Field::Map(_) => None,
    }
}

pub(super) fn double(value: f64) -> Value {
    match structs::write_number(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// A number that has no name here comes from a newer version of the type and stays a number.
fn enum_name(number: i32, kind: &Kind) -> Value {
    let Kind::Enum(descriptor) = kind else {
        return number.into();
    };
    if descriptor.full_name() == "google.protobuf.NullValue" {
        return Value::Null;
    }
    descriptor.get_value(number).map_or_else(|| number.into(), |value| value.name().into())
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
