//! A connection that is replaced when calls on it are not answered in time.
//!
//! The client finds back by itself when a connection is cut. One on which nothing comes any more it
//! keeps for ever, as for all it knows the server is only slow: a node of a cluster that hangs while
//! its replica has long taken over, a network in between that swallows everything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use redis::RedisResult;

/// Opens a new connection. It must give up by itself.
pub(super) type Open<C> = Box<dyn Fn() -> BoxFuture<'static, RedisResult<C>> + Send + Sync>;

pub(super) struct Lasting<C>(Arc<Shared<C>>);

struct Shared<C> {
    state: Mutex<State<C>>,
    open: Open<C>,
}

struct State<C> {
    connection: C,
    /// How many connections were replaced before it.
    number: u64,
    /// Whether another one is being opened. Until it is there, this one is used: what has no
    /// answer on it may be only a part.
    opening: bool,
}

impl<C: Clone + Send + 'static> Lasting<C> {
    pub(super) async fn open(open: Open<C>) -> RedisResult<Self> {
        let state = State { connection: open().await?, number: 0, opening: false };
        Ok(Self(Arc::new(Shared { state: Mutex::new(state), open })))
    }

    /// The connection, and its number.
    pub(super) fn get(&self) -> (C, u64) {
        let state = self.0.state();
        (state.connection.clone(), state.number)
    }

    /// Replaces the connection of this number, on which an answer did not come in time.
    pub(super) fn replace(&self, number: u64) {
        let mut state = self.0.state();
        if state.number != number || state.opening {
            return;
        }
        state.opening = true;
        tokio::spawn(Opening(self.0.clone()).run());
    }
}

impl<C> Shared<C> {
    fn state(&self) -> MutexGuard<'_, State<C>> {
        // It is whole at any moment, whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection is being opened; dropped, it is no more.
struct Opening<C>(Arc<Shared<C>>);

impl<C> Opening<C> {
    async fn run(self) {
        match (self.0.open)().await {
            Ok(connection) => {
                let mut state = self.0.state();
                state.connection = connection;
                state.number += 1;
                tracing::info!("a connection to Redis that did not answer is replaced");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "Redis does not answer, and can't be reached anew");
            }
        }
    }
}

impl<C> Drop for Opening<C> {
    fn drop(&mut self) {
        self.0.state().opening = false;
    }
}
