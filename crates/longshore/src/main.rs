//! The `longshore` command: the roles, all of them in one process (`dev`, `demo`), and the client.
//!
//! It puts the parts together and decides nothing by itself.

mod admin;
mod cli;
mod client;
mod demo;
mod exit;
mod operate;
mod process;
mod roles;
mod settings;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use longshore_core::telemetry;

use crate::{
    cli::{Cli, Command, Flags},
    exit::{BadSetting, Exit},
    settings::{Settings, Types},
};

/// The roles allocate much, and often on one thread what another one frees: glibc's allocator takes
/// about a fifth of their processor time, and musl's has one lock for all threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome =
        process::runtime().map_err(Into::into).and_then(|runtime| runtime.block_on(run(cli)));
    exit::report(outcome).into()
}

async fn run(cli: Cli) -> Result<Exit> {
    let types = Types { descriptor_sets: cli.types };
    if !cli.command.reads_settings() {
        types.register()?;
    }
    match &cli.command {
        Command::Demo(args) => demo::run(args).await,
        Command::Dev(flags) => serve("longshore-dev", flags, types, roles::dev).await,
        Command::Gateway(flags) => serve("longshore-gateway", flags, types, roles::gateway).await,
        Command::State(flags) => serve("longshore-state", flags, types, roles::state).await,
        Command::Worker(flags) => serve("longshore-worker", flags, types, roles::worker).await,
        Command::Probe(args) => admin::probe(args).await,
        Command::Admin(command) => operate::run(command, types).await,
        Command::Run(args) => client::run(args).await,
        Command::Get(args) => client::get(args).await,
        Command::List(args) => client::list(args).await,
        Command::Wait(args) => client::wait_for(args).await,
        Command::Watch(args) => client::watch_it(args).await,
        Command::Cancel(args) => client::cancel(args).await,
        Command::Delete(args) => client::delete(args).await,
    }
}

async fn serve(
    name: &'static str,
    flags: &impl Flags,
    mut types: Types,
    role: impl AsyncFnOnce(Settings) -> Result<()>,
) -> Result<Exit> {
    let settings = Settings::load(flags)?;
    types.descriptor_sets.extend(settings.types.descriptor_sets.iter().cloned());
    types.register()?;
    let telemetry =
        telemetry::init(&settings.telemetry, name).map_err(|error| BadSetting(error.into()))?;
    let outcome = role(settings).await;
    telemetry.shutdown().await;
    outcome.map(|()| Exit::Fine)
}
