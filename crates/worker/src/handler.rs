//! What handlers take and give.

use std::{future::Future, sync::Arc};

use futures::future::{BoxFuture, FutureExt};
use longshore_core::{json, record::Payload};
use longshore_proto::rpc::Code;
use prost::{Message, Name};
use serde::{Serialize, de::DeserializeOwned};

use crate::{context::Context, error::JobError};

/// What a handler takes: anything that serde reads from the JSON form of the job's input, or
/// [`Raw`].
///
/// A `Struct` is the JSON object that it holds, a typed input its JSON form with `@type`, no
/// input `{}`.
pub trait Input: Sized + Send + 'static {
    /// Reads the job's input.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if it is something else.
    fn read(payload: Option<Payload>) -> Result<Self, JobError>;
}

impl<T: DeserializeOwned + Send + 'static> Input for T {
    fn read(payload: Option<Payload>) -> Result<Self, JobError> {
        serde_json::from_value(json::payload_to_json(payload.as_ref()))
            .map_err(|error| JobError::invalid_input(format!("the input does not fit: {error}")))
    }
}

/// What a handler gives: anything that serde writes as JSON, or [`Raw`].
///
/// An object with `@type` becomes a message of that type, another object a `Struct`, `()` and
/// nothing `Empty`, all else a `Value`.
pub trait Response: Send + 'static {
    /// Writes the operation's response.
    ///
    /// # Errors
    /// `INTERNAL` if it can't be written.
    fn write(self) -> Result<Payload, JobError>;
}

impl<T: Serialize + Send + 'static> Response for T {
    fn write(self) -> Result<Payload, JobError> {
        let value = serde_json::to_value(self).map_err(|error| unwritable(&error))?;
        json::response_from_json(value).map_err(|error| unwritable(&error))
    }
}

/// The job failed to say what it did, and would fail again.
pub(crate) fn unwritable(error: &dyn std::error::Error) -> JobError {
    let mut message = format!("the response can't be written: {error}");
    if let Some(source) = error.source() {
        message.push_str(&format!(": {source}"));
    }
    JobError::fatal(Code::Internal, message)
}

/// A message as it is, without a detour over JSON: an input that may be of any type or absent, or
/// a response, which is `Empty` if absent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Raw(pub Option<Payload>);

impl Raw {
    /// Packs a message.
    pub fn pack<M: Message + Name>(message: &M) -> Self {
        let value = message.encode_to_vec().into();
        Self(Some(Payload { type_url: M::type_url(), value }))
    }

    /// Unpacks a message.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if there is none, or one of another type, or it can't be decoded.
    pub fn unpack<M: Message + Name + Default>(&self) -> Result<M, JobError> {
        let expected = M::full_name();
        let wrong = |what: &str| JobError::invalid_input(format!("expected a {expected}: {what}"));
        let payload = self.0.as_ref().ok_or_else(|| wrong("there is no input"))?;
        match payload.type_url.rsplit_once('/') {
            Some((_, name)) if name == expected => {
                M::decode(payload.value.clone()).map_err(|error| wrong(&error.to_string()))
            }
            _ => Err(wrong(&format!("the input is a {}", payload.type_url))),
        }
    }
}

impl Input for Raw {
    fn read(payload: Option<Payload>) -> Result<Self, JobError> {
        Ok(Self(payload))
    }
}

impl Response for Raw {
    fn write(self) -> Result<Payload, JobError> {
        Ok(self
            .0
            .unwrap_or_else(|| Payload { type_url: <()>::type_url(), value: bytes::Bytes::new() }))
    }
}

/// A handler whose types are gone.
pub(crate) type Handler = Arc<
    dyn Fn(Option<Payload>, Context) -> BoxFuture<'static, Result<Payload, JobError>> + Send + Sync,
>;

/// Takes a handler's types away.
pub(crate) fn erase<I, O, F, Fut>(handler: F) -> Handler
where
    I: Input,
    O: Response,
    F: Fn(I, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, JobError>> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |payload, context| {
        let handler = handler.clone();
        async move { handler(I::read(payload)?, context).await?.write() }.boxed()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[derive(serde::Deserialize, Debug, PartialEq)]
    struct Resize {
        width: u32,
        #[serde(default)]
        name: String,
    }

    #[test]
    fn inputs_are_read_from_their_json() {
        let payload = json::response_from_json(json!({"width": 3, "name": "x"})).unwrap();
        let input = Resize::read(Some(payload)).unwrap();
        assert_eq!(input, Resize { width: 3, name: "x".into() });

        let error = Resize::read(None).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains("width"), "{error}");
        assert_eq!(Value::read(None).unwrap(), json!({}));
    }

    #[test]
    fn responses_become_messages() {
        let url = |response: Payload| response.type_url.rsplit('/').next().unwrap().to_owned();
        assert_eq!(url(().write().unwrap()), "google.protobuf.Empty");
        assert_eq!(url(Raw::default().write().unwrap()), "google.protobuf.Empty");
        assert_eq!(url(json!({"a": 1}).write().unwrap()), "google.protobuf.Struct");
        assert_eq!(url(7.write().unwrap()), "google.protobuf.Value");
        let typed = json!({"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s"});
        assert_eq!(url(typed.write().unwrap()), "google.protobuf.Duration");
    }

    #[test]
    fn raw_messages_keep_their_type() {
        let status = longshore_proto::rpc::Status { code: 5, ..Default::default() };
        let raw = Raw::pack(&status);
        assert_eq!(raw.unpack::<longshore_proto::rpc::Status>().unwrap(), status);
        assert_eq!(
            raw.unpack::<prost_types::Duration>().unwrap_err().code(),
            Code::InvalidArgument
        );
    }
}
