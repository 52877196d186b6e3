//! Breaks an installation: real processes, several of each role, on real servers, with a network
//! in between that fails on demand; and checks afterwards that nothing was lost.
//!
//! A [`Case`](case::Case) says what it breaks, what has to stay true, and what it may cost. It runs
//! alone, on a [`Site`](site::Site) of its own: the `longshore` binary's roles as processes. Its
//! [`Client`](client::Client) keeps a history of all that it was told, the jobs keep one of all
//! attempts, and [`check::settled`] compares both with what the installation and its stores say once
//! everything is healed.

pub mod attempts;
pub mod case;
pub mod cases;
pub mod check;
pub mod client;
pub mod handler;
pub mod history;
pub mod runner;
pub mod site;
pub mod stage;
