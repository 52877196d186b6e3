//! From JSON to messages.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use prost::{
    Message,
    encoding::{self, WireType},
};
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value as Field,
};
use prost_types::Any;
use serde::de::Error as _;
use serde_json::{Map, Value};

use super::{Error, MAX_DEPTH, has_own_form, pool, structs};

/// With or without padding, as proto3 JSON allows.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Refuses what is nested deeper than [`MAX_DEPTH`], so that all else may simply recurse.
pub(super) fn check_depth(value: &Value) -> Result<(), Error> {
    fn fits(value: &Value, left: usize) -> bool {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
            Value::Array(items) => left > 0 && items.iter().all(|item| fits(item, left - 1)),
            Value::Object(object) => left > 0 && object.values().all(|item| fits(item, left - 1)),
        }
    }
    if fits(value, MAX_DEPTH) { Ok(()) } else { Err(Error::TooDeep) }
}

pub(super) fn any(value: Value, left: usize) -> Result<Any, Error> {
    let left = left.checked_sub(1).ok_or(Error::TooDeep)?;
    let Value::Object(mut object) = value else {
        return Err(Error::NoType);
    };
    let Some(Value::String(type_url)) = object.remove("@type") else {
        return Err(Error::NoType);
    };
    let name = match type_url.rsplit_once('/') {
        Some((_, name)) if !name.is_empty() => name,
        _ => return Err(Error::NoType),
    };
    let Some(descriptor) = pool().get_message_by_name(name) else {
        let value = opaque(&object).ok_or_else(|| Error::Unknown(name.to_owned()))?;
        return Ok(Any { type_url, value });
    };

    let is_wrapped_empty = name == "google.protobuf.Empty" && object.contains_key("value");
    let form = if has_own_form(name) || is_wrapped_empty {
        let form = object.remove("value");
        if !object.is_empty() {
            return Err(mismatch(name, "beside `@type` there must be nothing but `value`"));
        }
        form.ok_or_else(|| mismatch(name, "`value` is missing"))?
    } else {
        Value::Object(object)
    };
    let value = encode(&message(&descriptor, form, left)?);
    Ok(Any { type_url, value })
}

fn opaque(object: &Map<String, Value>) -> Option<Vec<u8>> {
    let value = object.get("value")?.as_str()?;
    if object.len() > 1 {
        return None;
    }
    // Both alphabets are legal.
    BASE64.decode(value.replace('-', "+").replace('_', "/")).ok()
}

pub(super) fn message(
    descriptor: &MessageDescriptor,
    value: Value,
    left: usize,
) -> Result<DynamicMessage, Error> {
    let left = left.checked_sub(1).ok_or(Error::TooDeep)?;
    let packed = match descriptor.full_name() {
        "google.protobuf.Any" if value.as_object().is_some_and(Map::is_empty) => Vec::new(),
        "google.protobuf.Any" => any(value, left)?.encode_to_vec(),
        "google.protobuf.Struct" => structs::read(value)?.encode_to_vec(),
        "google.protobuf.ListValue" => structs::read_list(value)?.encode_to_vec(),
        "google.protobuf.Value" => structs::read_value(value)?.encode_to_vec(),
        name if has_own_form(name) => return by_reflection(descriptor, value),
        _ => return fields(descriptor, value, left),
    };
    DynamicMessage::decode(descriptor.clone(), packed.as_slice()).map_err(|_| Error::TooDeep)
}

/// Reads by prost-reflect all but the messages inside, because it can't read an Any whose type it
/// does not know.
fn fields(
    descriptor: &MessageDescriptor,
    value: Value,
    left: usize,
) -> Result<DynamicMessage, Error> {
    let name = descriptor.full_name();
    let Value::Object(object) = value else {
        return Err(mismatch(name, "must be a JSON object"));
    };
    let mut plain = Map::new();
    let mut nested = Vec::new();
    for (key, value) in object {
        match message_field(descriptor, &key) {
            Some((field, inner)) if !value.is_null() => nested.push((field, inner, value)),
            _ => {
                plain.insert(key, value);
            }
        }
    }
    let mut message = by_reflection(descriptor, Value::Object(plain))?;
    for (field, inner, value) in nested {
        let is_taken = match field.containing_oneof() {
            Some(oneof) => oneof.fields().any(|other| message.has_field(&other)),
            None => message.has_field(&field),
        };
        if is_taken {
            return Err(mismatch(
                name,
                format!("`{}` or its alternative is set twice", field.name()),
            ));
        }
        message.set_field(&field, nested_value(&field, &inner, value, left)?);
    }
    Ok(message)
}

/// The field of this name, if it holds messages. Maps hold none of interest in the known types.
fn message_field(
    descriptor: &MessageDescriptor,
    key: &str,
) -> Option<(FieldDescriptor, MessageDescriptor)> {
    let field =
        descriptor.get_field_by_json_name(key).or_else(|| descriptor.get_field_by_name(key))?;
    match field.kind() {
        Kind::Message(inner) if !field.is_map() => Some((field, inner)),
        _ => None,
    }
}

fn nested_value(
    field: &FieldDescriptor,
    inner: &MessageDescriptor,
    value: Value,
    left: usize,
) -> Result<Field, Error> {
    if !field.is_list() {
        return message(inner, value, left).map(Field::Message);
    }
    let Value::Array(items) = value else {
        return Err(mismatch(
            inner.full_name(),
            format!("`{}` must be a JSON array", field.json_name()),
        ));
    };
    let items = items.into_iter().map(|item| message(inner, item, left).map(Field::Message));
    items.collect::<Result<_, _>>().map(Field::List)
}

/// Encodes maps in the order of their keys, which prost-reflect does not: a request that is sent
/// again must have the same bytes.
fn encode(message: &DynamicMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (field, value) in message.fields() {
        match (value, field.kind()) {
            (Field::Message(inner), _) => encode_inner(&field, inner, &mut bytes),
            (Field::List(items), Kind::Message(_)) => {
                for inner in items.iter().filter_map(Field::as_message) {
                    encode_inner(&field, inner, &mut bytes);
                }
            }
            (Field::Map(entries), Kind::Message(descriptor)) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                for (key, value) in entries {
                    let mut entry = DynamicMessage::new(descriptor.clone());
                    entry.set_field_by_number(1, key.clone().into());
                    entry.set_field_by_number(2, value.clone());
                    encode_inner(&field, &entry, &mut bytes);
                }
            }
            (scalars, _) => {
                let mut single = DynamicMessage::new(message.descriptor());
                single.set_field(&field, scalars.clone());
                bytes.extend(single.encode_to_vec());
            }
        }
    }
    bytes
}

fn encode_inner(field: &FieldDescriptor, message: &DynamicMessage, bytes: &mut Vec<u8>) {
    let inner = encode(message);
    encoding::encode_key(field.number(), WireType::LengthDelimited, bytes);
    encoding::encode_varint(inner.len() as u64, bytes);
    bytes.extend(inner);
}

fn by_reflection(descriptor: &MessageDescriptor, value: Value) -> Result<DynamicMessage, Error> {
    DynamicMessage::deserialize(descriptor.clone(), value)
        .map_err(|source| Error::Mismatch { type_name: descriptor.full_name().to_owned(), source })
}

fn mismatch(type_name: &str, what: impl std::fmt::Display) -> Error {
    Error::Mismatch { type_name: type_name.to_owned(), source: serde_json::Error::custom(what) }
}
