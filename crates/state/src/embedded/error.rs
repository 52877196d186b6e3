//! What an error of the database means to a caller of the store.

use std::{io, sync::Arc};

use crate::store::Error;

/// Turns the database's error into the store's, given what was attempted.
pub(super) fn at(doing: &'static str) -> impl Fn(redb::Error) -> Error {
    move |source| shared(doing, Arc::new(source))
}

/// The same for an error that several are told of.
pub(super) fn shared(doing: &'static str, source: Arc<redb::Error>) -> Error {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};

    match &*source {
        redb::Error::Io(error)
            if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) =>
        {
            Error::Full { doing, source: Box::new(source) }
        }
        _ => Error::Unavailable { doing, source: Box::new(source) },
    }
}

/// Tells the same error to each of so many.
pub(super) fn for_each<T>(
    doing: &'static str,
    count: usize,
    error: Error,
) -> Vec<Result<T, Error>> {
    let is_full = matches!(error, Error::Full { .. });
    let source: Arc<dyn std::error::Error + Send + Sync> = match error {
        Error::Unavailable { source, .. } | Error::Full { source, .. } => Arc::from(source),
        other => Arc::new(other),
    };
    let tell = || {
        let source = Box::new(Told(Arc::clone(&source)));
        if is_full { Error::Full { doing, source } } else { Error::Unavailable { doing, source } }
    };
    (0..count).map(|_| Err(tell())).collect()
}

/// An error that others are told of as well.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Told(Arc<dyn std::error::Error + Send + Sync>);
