//! The command as a process: what it prints and how it exits.

#![expect(clippy::unwrap_used, reason = "a test")]

mod admin;
mod client;
mod demo;
mod documents;
mod process;
mod roles;
mod types;
