//! The proto3 JSON mapping of operations and of what is packed into them.
//!
//! A type is *known* if it is one of `google.protobuf`'s well-known types, of `google.rpc`, of
//! Longshore's public API, or [registered](register). Job authors pack types of their own as well,
//! so an unknown one is no error: it takes the **opaque form** `{"@type": URL, "value": BASE64}`, wherever it stands. The
//! same happens to bytes that are no message of their known type or that JSON can't express (a
//! `google.protobuf.Value` that is not a finite number), and to what is nested deeper than
//! [`MAX_DEPTH`]; that is written only, never read.

mod direct;
mod read;
mod structs;
#[cfg(test)]
mod tests;
mod types;
mod write;

use longshore_proto::{longrunning::Operation, rpc::Status};
use prost::{Message, Name};
use prost_reflect::{DynamicMessage, MessageDescriptor};
use prost_types::{Any, Struct};
use serde_json::{Value, json};

use crate::record::Payload;

/// How deep JSON and messages may be nested.
pub const MAX_DEPTH: usize = 100;

/// Why a JSON text can't become a message, or the reverse.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no `@type`, or it is no type URL.
    #[error("must be an object with an `@type` like `type.googleapis.com/package.Message`")]
    NoType,
    /// The type is unknown and not in the opaque form.
    #[error(
        "the type {0} is not known here, so all beside `@type` must be `value`: its bytes in base64"
    )]
    Unknown(String),
    /// It is not what the type looks like in JSON.
    #[error("is no {type_name}")]
    Mismatch {
        /// The type that it should be.
        type_name: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// It is nested deeper than [`MAX_DEPTH`], or than other readers of protobuf can follow.
    #[error("is nested too deep")]
    TooDeep,
    /// A message holds something that JSON has no form for.
    #[error("the {0} can't be expressed in JSON")]
    Inexpressible(String),
}

pub use types::{RegisterError, pool, register};

/// Serializes as proto3 JSON: an [`Operation`] as `google.longrunning` clients read it, a [`Status`]
/// with its code as a number, or an [`Any`] with its `@type` (in the opaque form if the type is not
/// known). Defaults are left out, and nothing is there that clients don't know.
///
/// `google.protobuf.Empty` is its `@type` alone: Python's clients refuse it with a `value`.
#[derive(Clone, Copy, Debug)]
pub struct AsJson<'a, M>(pub &'a M);

/// The operation as [`AsJson`] has it.
pub fn operation_to_json(operation: &Operation) -> Value {
    value(&AsJson(operation))
}

/// The status as [`AsJson`] has it.
pub fn status_to_json(status: &Status) -> Value {
    value(&AsJson(status))
}

/// The packed message as [`AsJson`] has it.
pub fn any_to_json(any: &Any) -> Value {
    value(&AsJson(any))
}

fn value(form: &impl serde::Serialize) -> Value {
    serde_json::to_value(form).expect("all keys are strings, and nothing else can't be written")
}

/// The message that [`any_to_json`] gave, or that a client wrote.
///
/// # Errors
/// If there is no `@type`, or the rest does not fit it.
pub fn any_from_json(value: Value) -> Result<Any, Error> {
    read::check_depth(&value)?;
    read::any(value, MAX_DEPTH)
}

/// What a job gets to read: a `Struct` or a `Value` as the plain JSON that it is, all others as
/// [`any_to_json`], and `{}` if there is nothing.
pub fn payload_to_json(payload: Option<&Payload>) -> Value {
    let Some(payload) = payload else {
        return json!({});
    };
    let plain = match payload.type_url.rsplit_once('/') {
        Some((_, "google.protobuf.Struct")) => {
            Struct::decode(payload.value.clone()).ok().and_then(structs::write)
        }
        Some((_, "google.protobuf.Value")) => {
            prost_types::Value::decode(payload.value.clone()).ok().and_then(structs::write_value)
        }
        _ => None,
    };
    plain.unwrap_or_else(|| write::any(&payload.type_url, &payload.value, MAX_DEPTH))
}

/// What a job answers: an object with `@type` is a message of that type, another object a
/// `Struct`, null is `Empty`, all else a `Value`.
///
/// # Errors
/// If it does not fit its `@type`, or is nested too deep.
pub fn response_from_json(value: Value) -> Result<Payload, Error> {
    match value {
        Value::Null => Ok(payload("Empty", &())),
        Value::Object(object) if object.contains_key("@type") => {
            let any = any_from_json(Value::Object(object))?;
            Ok(Payload { type_url: any.type_url, value: any.value.into() })
        }
        Value::Object(_) => struct_from_json(value).map(|message| payload("Struct", &message)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            read::check_depth(&value)?;
            structs::read_value(value).map(|message| payload("Value", &message))
        }
    }
}

/// A JSON object as a message.
///
/// # Errors
/// If it is no object, or nested so deep that readers of protobuf would refuse it.
pub fn struct_from_json(value: Value) -> Result<Struct, Error> {
    read::check_depth(&value)?;
    structs::read(value)
}

/// The JSON object that a message holds.
///
/// # Errors
/// If it holds a number that is not finite.
pub fn struct_to_json(message: Struct) -> Result<Value, Error> {
    structs::write(message).ok_or_else(|| Error::Inexpressible("google.protobuf.Struct".into()))
}

/// Any message of a known type as proto3 JSON, without an `@type`.
///
/// # Errors
/// If JSON has no form for something in it.
pub fn message_to_json<M: Message + Name>(message: &M) -> Result<Value, Error> {
    let inexpressible = || Error::Inexpressible(M::full_name());
    let mut dynamic = DynamicMessage::new(descriptor::<M>()?);
    dynamic.transcode_from(message).map_err(|_| inexpressible())?;
    write::message(&dynamic, MAX_DEPTH).ok_or_else(inexpressible)
}

/// A message of a known type, from proto3 JSON without an `@type`.
///
/// # Errors
/// If the JSON does not fit the type.
pub fn message_from_json<M: Message + Name + Default>(value: Value) -> Result<M, Error> {
    read::check_depth(&value)?;
    let dynamic = read::message(&descriptor::<M>()?, value, MAX_DEPTH)?;
    dynamic.transcode_to().map_err(|_| Error::TooDeep)
}

fn descriptor<M: Name>() -> Result<MessageDescriptor, Error> {
    let name = M::full_name();
    pool().get_message_by_name(&name).ok_or(Error::Unknown(name))
}

fn payload<M: Message>(name: &str, message: &M) -> Payload {
    let type_url = format!("type.googleapis.com/google.protobuf.{name}");
    Payload { type_url, value: message.encode_to_vec().into() }
}

/// Whether the type has a JSON form of its own, which stands in an Any as `value`.
fn has_own_form(type_name: &str) -> bool {
    let Some(name) = type_name.strip_prefix("google.protobuf.") else {
        return false;
    };
    matches!(
        name,
        "Any" | "Timestamp" | "Duration" | "FieldMask" | "Struct" | "Value" | "ListValue"
    ) || is_wrapper(type_name)
}

/// Whether the type is a message around one scalar, and its JSON form the scalar's.
fn is_wrapper(type_name: &str) -> bool {
    matches!(
        type_name.strip_prefix("google.protobuf."),
        Some(
            "DoubleValue"
                | "FloatValue"
                | "Int64Value"
                | "UInt64Value"
                | "Int32Value"
                | "UInt32Value"
                | "BoolValue"
                | "StringValue"
                | "BytesValue"
        )
    )
}
