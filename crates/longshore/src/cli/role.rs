//! What can be said to the roles. Each flag is a setting that can also come from the file or the
//! environment, so none has a default here.

use std::path::{Path, PathBuf};

use clap::Args;
use longshore_core::config::Override;

/// What all roles take.
#[derive(Clone, Debug, Args)]
pub(crate) struct Settings {
    /// A TOML file with settings; weaker than LONGSHORE_ variables, which are weaker than flags.
    #[arg(long, env = "LONGSHORE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// How log lines look.
    #[arg(long, value_name = "FORMAT", value_parser = ["pretty", "json"])]
    log_format: Option<String>,
    /// Which log lines are written, such as `info` or `warn,longshore_state=debug`.
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
    /// Where traces go by OTLP over gRPC, such as `http://127.0.0.1:4317`.
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Where to answer the platform, such as `0.0.0.0:9090`: /livez and /readyz; nowhere without it.
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
}

/// Shows the main job.
#[derive(Clone, Debug, Args)]
pub(crate) struct Demo {
    /// The directory whose files are hashed; some files of the demo's own without it.
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// All roles in one process.
#[derive(Clone, Debug, Args)]
pub(crate) struct Dev {
    #[command(flatten)]
    settings: Settings,
    /// Where to serve the API [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The TOML file with the jobs that the worker runs.
    #[arg(long, value_name = "FILE")]
    jobs: Option<String>,
    /// Where to keep records; in memory only without it.
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
}

/// The API.
#[derive(Clone, Debug, Args)]
pub(crate) struct Gateway {
    #[command(flatten)]
    settings: Settings,
    /// Where to serve the API [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where the records are, such as `redis://127.0.0.1:6379`.
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Where the bus is, such as `nats://127.0.0.1:4222`.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
}

/// The state role.
#[derive(Clone, Debug, Args)]
pub(crate) struct State {
    #[command(flatten)]
    settings: Settings,
    /// Where the records are, such as `redis://127.0.0.1:6379`.
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Where the bus is, such as `nats://127.0.0.1:4222`.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
}

/// The worker role.
#[derive(Clone, Debug, Args)]
pub(crate) struct Worker {
    #[command(flatten)]
    settings: Settings,
    /// Where the bus is, such as `nats://127.0.0.1:4222`.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// The TOML file with the jobs to run.
    #[arg(long, value_name = "FILE")]
    jobs: Option<String>,
}

/// Asks a role's admin listener.
#[derive(Clone, Debug, Args)]
pub(crate) struct Probe {
    /// Where the role answers the platform: its --admin-listen.
    #[arg(default_value = "127.0.0.1:9090", value_name = "ADDRESS")]
    pub address: String,
    /// Asks only whether it is alive.
    #[arg(long)]
    pub live: bool,
}

/// The flags of a role as settings.
pub(crate) trait Flags {
    /// The file with settings.
    fn config(&self) -> Option<&Path>;

    /// The flags that are given.
    fn overrides(&self) -> Vec<Override>;
}

impl Settings {
    fn with(&self, flags: &[(&'static str, &'static str, &Option<String>)]) -> Vec<Override> {
        let common = [
            ("--log-format", "telemetry.log_format", &self.log_format),
            ("--log-filter", "telemetry.log_filter", &self.log_filter),
            ("--otlp-endpoint", "telemetry.otlp_endpoint", &self.otlp_endpoint),
            ("--admin-listen", "admin.listen", &self.admin_listen),
        ];
        let given = |&(flag, key, value): &(&'static str, &'static str, &Option<String>)| {
            value.clone().map(|value| Override { flag, key, value })
        };
        common.iter().chain(flags).filter_map(given).collect()
    }
}

impl Flags for Dev {
    fn config(&self) -> Option<&Path> {
        self.settings.config.as_deref()
    }

    fn overrides(&self) -> Vec<Override> {
        self.settings.with(&[
            ("--listen", "gateway.listen", &self.listen),
            ("--jobs", "exec.jobs", &self.jobs),
            ("--data", "store.data", &self.data),
        ])
    }
}

impl Flags for Gateway {
    fn config(&self) -> Option<&Path> {
        self.settings.config.as_deref()
    }

    fn overrides(&self) -> Vec<Override> {
        self.settings.with(&[
            ("--listen", "gateway.listen", &self.listen),
            ("--redis", "redis.url", &self.redis),
            ("--nats", "nats.url", &self.nats),
        ])
    }
}

impl Flags for State {
    fn config(&self) -> Option<&Path> {
        self.settings.config.as_deref()
    }

    fn overrides(&self) -> Vec<Override> {
        self.settings
            .with(&[("--redis", "redis.url", &self.redis), ("--nats", "nats.url", &self.nats)])
    }
}

impl Flags for Worker {
    fn config(&self) -> Option<&Path> {
        self.settings.config.as_deref()
    }

    fn overrides(&self) -> Vec<Override> {
        self.settings
            .with(&[("--nats", "nats.url", &self.nats), ("--jobs", "exec.jobs", &self.jobs)])
    }
}
