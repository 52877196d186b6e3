//! A walk over all that a store keeps.

use futures::{StreamExt, stream::BoxStream};

use super::Sighting;
use crate::store::Error;

/// A walk over all that a store keeps. It is lazy: nothing is read before it is asked for.
pub struct Walk<'a>(BoxStream<'a, Result<Vec<Sighting>, Error>>);

impl<'a> Walk<'a> {
    pub(crate) fn new(pages: BoxStream<'a, Result<Vec<Sighting>, Error>>) -> Self {
        Self(pages)
    }

    /// Some more, some hundreds at most; `None` at the end.
    ///
    /// # Errors
    /// If the store can't be asked: then the walk is over.
    pub async fn next(&mut self) -> Result<Option<Vec<Sighting>>, Error> {
        self.0.next().await.transpose()
    }
}
