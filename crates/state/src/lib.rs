//! Keeps the records: the port [`Store`](store::Store) with its two implementations
//! ([`redis`], [`embedded`]), the [`Ledger`](ledger::Ledger) through which every change goes, and
//! the state role that answers workers, applies their events and fires timers.
//!
//! It decides nothing about records: that is `longshore_core::lifecycle`'s business. It must
//! never know of gRPC or HTTP.

pub mod audit;
#[doc(hidden)]
pub mod conformance;
pub mod embedded;
pub mod ledger;
pub mod measured;
pub mod redis;
mod retry;
pub mod role;
pub mod store;
