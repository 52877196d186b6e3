//! Writes what most answers are made of straight from the messages: operations and statuses, and
//! within an Any our own metadata, `Empty`, `Struct` and `Value`. All else goes through the
//! descriptors ([`write`](super::write)). That would give the same for these, letter by letter, but
//! at many times the cost.

mod metadata;
#[cfg(test)]
mod tests;
mod timestamp;

use longshore_proto::{
    longrunning::{Operation, operation},
    rpc::Status,
    v1::OperationMetadata,
};
use prost::Message;
use prost_types::{Any, ListValue, Struct, Value as Dynamic, value::Kind};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{AsJson, MAX_DEPTH, structs, write};

impl Serialize for AsJson<'_, Operation> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Operation { name, metadata, done, result } = self.0;
        let mut map = serializer.serialize_map(None)?;
        if !name.is_empty() {
            map.serialize_entry("name", name)?;
        }
        if let Some(metadata) = metadata {
            map.serialize_entry("metadata", &AsJson(metadata))?;
        }
        if *done {
            map.serialize_entry("done", done)?;
        }
        match result {
            Some(operation::Result::Error(status)) => {
                map.serialize_entry("error", &AsJson(status))?;
            }
            Some(operation::Result::Response(any)) => {
                map.serialize_entry("response", &AsJson(any))?;
            }
            None => {}
        }
        map.end()
    }
}

impl Serialize for AsJson<'_, Status> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WithDepth { message: self.0, left: MAX_DEPTH }.serialize(serializer)
    }
}

impl Serialize for AsJson<'_, Any> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WithDepth { message: self.0, left: MAX_DEPTH }.serialize(serializer)
    }
}

/// A message, and how many more may lie in each other within it.
struct WithDepth<'a, M> {
    message: &'a M,
    left: usize,
}

impl Serialize for WithDepth<'_, Status> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Status { code, message, details } = self.message;
        let mut map = serializer.serialize_map(None)?;
        if *code != 0 {
            map.serialize_entry("code", code)?;
        }
        if !message.is_empty() {
            map.serialize_entry("message", message)?;
        }
        if !details.is_empty() {
            let details = Each(details, |message| WithDepth { message, left: self.left });
            map.serialize_entry("details", &details)?;
        }
        map.end()
    }
}

impl Serialize for WithDepth<'_, Any> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Any { type_url, value } = self.message;
        let Some(known) = known(self.message, self.left) else {
            return write::any(type_url, value, self.left).serialize(serializer);
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("@type", type_url)?;
        match known {
            Known::Metadata(metadata) => metadata::fields(&mut map, &metadata, self.left - 1)?,
            Known::Empty => {}
            Known::Struct(message) => map.serialize_entry("value", &Plain(&message))?,
            Known::Value(message) => map.serialize_entry("value", &Plain(&message))?,
        }
        map.end()
    }
}

/// What can be written without descriptors.
enum Known {
    Metadata(Box<OperationMetadata>),
    Empty,
    Struct(Struct),
    Value(Dynamic),
}

/// How deep what is known goes by itself. What lies deeper is left to the descriptors, which count.
const DEEP_ENOUGH: usize = 8;

/// `None` also for all that has to take the opaque form.
fn known(any: &Any, left: usize) -> Option<Known> {
    if left < DEEP_ENOUGH {
        return None;
    }
    let (_, name) = any.type_url.rsplit_once('/')?;
    let bytes = any.value.as_slice();
    match name {
        "longshore.v1.OperationMetadata" => OperationMetadata::decode(bytes)
            .ok()
            .filter(metadata::is_expressible)
            .map(|metadata| Known::Metadata(Box::new(metadata))),
        "google.protobuf.Empty" => bytes.is_empty().then_some(Known::Empty),
        "google.protobuf.Struct" => {
            Struct::decode(bytes).ok().filter(is_expressible_struct).map(Known::Struct)
        }
        "google.protobuf.Value" => {
            Dynamic::decode(bytes).ok().filter(is_expressible).map(Known::Value)
        }
        _ => None,
    }
}

fn is_expressible_struct(message: &Struct) -> bool {
    message.fields.values().all(is_expressible)
}

fn is_expressible(value: &Dynamic) -> bool {
    match &value.kind {
        Some(Kind::NumberValue(number)) => number.is_finite(),
        Some(Kind::ListValue(list)) => list.values.iter().all(is_expressible),
        Some(Kind::StructValue(inner)) => is_expressible_struct(inner),
        Some(Kind::NullValue(_) | Kind::BoolValue(_) | Kind::StringValue(_)) | None => true,
    }
}

/// JSON in protobuf as the JSON that it is.
struct Plain<'a, M>(&'a M);

impl Serialize for Plain<'_, Struct> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.fields.iter().map(|(key, value)| (key, Plain(value))))
    }
}

impl Serialize for Plain<'_, ListValue> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Each(&self.0.values, Plain).serialize(serializer)
    }
}

impl Serialize for Plain<'_, Dynamic> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.kind {
            None | Some(Kind::NullValue(_)) => serializer.serialize_unit(),
            Some(Kind::BoolValue(value)) => serializer.serialize_bool(*value),
            Some(Kind::NumberValue(value)) => structs::write_number(*value).serialize(serializer),
            Some(Kind::StringValue(value)) => serializer.serialize_str(value),
            Some(Kind::ListValue(list)) => Plain(list).serialize(serializer),
            Some(Kind::StructValue(inner)) => Plain(inner).serialize(serializer),
        }
    }
}

/// A list, each item in the form that the function gives it.
struct Each<'a, T, F>(&'a [T], F);

impl<'a, T, F, J> Serialize for Each<'a, T, F>
where
    F: Fn(&'a T) -> J,
    J: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}
