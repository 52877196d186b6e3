//! The operator's commands: they look after an installation by way of its servers, with the
//! settings of its roles.

mod archive;
mod audit;
mod backup;
mod call;
mod config;
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
        Admin::Workers(args) => workers::workers(args).await,
        Admin::Drain(args) => workers::drain(args).await,
        Admin::Audit(args) => audit::audit(args).await,
        Admin::Backup(args) => backup::backup(args).await,
        Admin::Restore(args) => restore::restore(args).await,
    }
}
