//! The operator's commands: they look after an installation by way of its servers, with the
//! settings of its roles.

mod archive;
mod audit;
mod backup;
mod call;
mod clear;
mod config;
mod queues;
mod restore;
mod stores;
mod workers;

use anyhow::Result;

use crate::{
    cli::{Admin, Config},
    exit::Exit,
    settings::Types,
};

/// Does what an operator wants.
pub(crate) async fn run(command: &Admin, types: Types) -> Result<Exit> {
    match command {
        Admin::Config(Config::Check(site)) => config::check(site, types),
        Admin::Config(Config::Print(args)) => config::print(args),
        Admin::Queues(args) => queues::queues(args).await,
        Admin::Pause(args) => queues::set_paused(args, true).await,
        Admin::Resume(args) => queues::set_paused(args, false).await,
        Admin::Move(args) => clear::shift(args).await,
        Admin::Discard(args) => clear::discard(args).await,
        Admin::Workers(args) => workers::workers(args).await,
        Admin::Drain(args) => workers::drain(args).await,
        Admin::Audit(args) => audit::audit(args).await,
        Admin::Backup(args) => backup::backup(args).await,
        Admin::Restore(args) => restore::restore(args).await,
    }
}
