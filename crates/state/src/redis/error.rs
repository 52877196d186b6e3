//! What an error of the client means to a caller of the store.

use longshore_core::names::OperationId;
use redis::{ErrorKind, RedisError, RedisResult, Value};

use crate::store::Error;

/// Turns the client's error into the store's, given what was attempted.
pub(super) fn at(doing: &'static str) -> impl Fn(RedisError) -> Error {
    move |source| match (source.kind(), source.code()) {
        (_, Some("OOM")) => Error::Full { doing, source: Box::new(source) },
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => {
            Error::Misconfigured(format!("Redis refuses the user or password: {doing}"))
        }
        (_, Some("NOPERM")) => {
            Error::Misconfigured(format!("Redis denies the user a command: {doing}"))
        }
        (_, Some("WRONGTYPE")) => {
            Error::Misconfigured(format!("a key in Redis is of another type: {doing}"))
        }
        (ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported, _) => {
            Error::Misconfigured(format!("Redis can't be used like this: {doing}: {source}"))
        }
        _ => Error::Unavailable { doing, source: Box::new(source) },
    }
}

/// The same where one record is concerned: a key of another type is that record's damage.
pub(super) fn of_record(id: &OperationId, doing: &'static str, source: RedisError) -> Error {
    match source.code() {
        Some("WRONGTYPE") => Error::Damaged { id: id.clone(), source: Box::new(source) },
        _ => at(doing)(source),
    }
}

/// One command's answer out of a pipeline's.
pub(super) fn answer(value: Value) -> RedisResult<Value> {
    match value {
        Value::ServerError(error) => Err(error.into()),
        value => Ok(value),
    }
}

/// Redis answered with something else than the command can answer.
pub(super) fn senseless() -> RedisError {
    (ErrorKind::UnexpectedReturnType, "an answer of another kind").into()
}
