//! Commits that are answered only once they outlast what the settings say.
//!
//! `WAIT` and `WAITAOF` speak of what their own connection has written, and hold that connection up.
//! So commits go with them over connections of their own, many commits with one confirmation.

use std::{io, sync::Arc, time::Duration};

use redis::{Cmd, RedisError, RedisResult, Value, cmd};
use tokio::sync::{Mutex, mpsc};

use super::{
    connection::Connection,
    error::{self, answer, senseless},
    gather::{self, Batch, Call, Gatherer, pipeline},
    settings::{Durability, Settings},
    url::Target,
};
use crate::store::Error;

/// How many connections confirm at the same time.
const LANES: usize = 4;

/// How the store sees to it that commits last.
pub(super) enum Durable {
    /// Redis answers when it has them in memory, and that is enough.
    Memory,
    /// Redis itself answers after the fsync. It can be told otherwise at any time.
    Always,
    /// Redis is asked to confirm.
    Confirmed(mpsc::Sender<Call>),
}

impl Durable {
    /// Finds out how this Redis can give what the settings ask for.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] if it can't; [`Error::Unavailable`] if it can't at the moment.
    pub(super) async fn open(connection: &Connection, settings: &Settings) -> Result<Self, Error> {
        let confirm = match settings.durability {
            Durability::Memory => return Ok(Self::Memory),
            Durability::Fsync | Durability::Replicas if connection.is_cluster() => {
                return Err(Error::Misconfigured(CLUSTER.to_owned()));
            }
            Durability::Fsync => match policy(connection).await? {
                Policy::Always => return Ok(Self::Always),
                Policy::Sometimes(found) => Confirm::fsync(settings, &found),
            },
            Durability::Replicas => Confirm::replicas(settings),
        };
        let (sender, calls) = mpsc::channel(gather::WAITING);
        let calls = Arc::new(Mutex::new(calls));
        let patient = Settings {
            response_timeout: settings.response_timeout + settings.durability_timeout,
            ..settings.clone()
        };
        for nth in 0..LANES {
            let lane = Connection::open(Target::parse(&settings.url)?, &patient).await;
            let lane = lane.map_err(error::at("connecting"))?;
            if nth == 0 {
                confirm.probe(&lane).await?;
            }
            tokio::spawn(serve(lane, confirm.clone(), Arc::clone(&calls)));
        }
        Ok(Self::Confirmed(sender))
    }

    /// Sends commands, and answers when what they wrote lasts.
    pub(super) async fn write(
        &self,
        gatherer: &Gatherer,
        commands: Vec<Cmd>,
    ) -> RedisResult<Vec<Value>> {
        match self {
            Self::Memory | Self::Always => gatherer.call(commands).await,
            Self::Confirmed(calls) => gather::ask(calls, commands).await,
        }
    }

    /// Whether Redis still gives what was found at the start.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] if it does not.
    pub(super) async fn check(&self, connection: &Connection) -> Result<(), Error> {
        match self {
            Self::Memory | Self::Confirmed(_) => Ok(()),
            Self::Always => match policy(connection).await? {
                Policy::Always => Ok(()),
                Policy::Sometimes(found) => Err(Error::Misconfigured(format!(
                    "redis.durability is fsync, and appendfsync of Redis is not always any more, but {found}"
                ))),
            },
        }
    }
}

const CLUSTER: &str = "redis.durability must be memory for a cluster: set appendfsync always on its \
    nodes, by which each of them answers after the fsync";

/// When Redis brings its append-only file to the disk.
enum Policy {
    /// Before it answers.
    Always,
    /// Some time later, as its setting says, if that can be seen.
    Sometimes(String),
}

/// # Errors
/// If there is no append-only file.
async fn policy(connection: &Connection) -> Result<Policy, Error> {
    let mut found = Vec::new();
    for key in ["appendonly", "appendfsync"] {
        let mut get = cmd("CONFIG");
        get.arg("GET").arg(key);
        let value = match connection.command(&get).await {
            Ok(value) => value,
            // Not every user may ask, and not every Redis has the command.
            Err(error) if matches!(error.code(), Some("NOPERM" | "ERR")) => {
                return Ok(Policy::Sometimes("hidden".to_owned()));
            }
            Err(error) => return Err(error::at("reading how Redis keeps its file")(error)),
        };
        let pairs: Vec<(String, String)> = redis::from_redis_value(value)
            .map_err(|error| error::at("reading how Redis keeps its file")(error.into()))?;
        found.extend(pairs.into_iter().map(|(_, value)| value));
    }
    match &*found {
        [file, _] if file == "no" => Err(Error::Misconfigured(
            "redis.durability is fsync, but Redis keeps no append-only file: set appendonly yes"
                .to_owned(),
        )),
        [_, policy] if policy == "always" => Ok(Policy::Always),
        [_, policy] if policy == "no" => Err(Error::Misconfigured(
            "redis.durability is fsync, but appendfsync of Redis is no, so that it never says when \
             its file is on the disk: set it to always, or to everysec if it has WAITAOF"
                .to_owned(),
        )),
        [_, policy] => Ok(Policy::Sometimes(policy.clone())),
        _ => Ok(Policy::Sometimes("hidden".to_owned())),
    }
}

/// How Redis is asked whether it is done.
#[derive(Clone)]
struct Confirm {
    call: Cmd,
    /// How many have to say so: this server, or replicas.
    needed: i64,
    /// What is wrong with a Redis that does not know the call.
    unknown: String,
}

impl Confirm {
    fn fsync(settings: &Settings, policy: &str) -> Self {
        let mut call = cmd("WAITAOF");
        call.arg(1).arg(0).arg(millis(settings.durability_timeout));
        let unknown = format!(
            "redis.durability is fsync: this Redis has no WAITAOF (7.2 is the first that has), so its \
             appendfsync must be always; it is {policy}"
        );
        Self { call, needed: 1, unknown }
    }

    fn replicas(settings: &Settings) -> Self {
        let mut call = cmd("WAIT");
        call.arg(settings.durable_replicas).arg(millis(settings.durability_timeout));
        let unknown = "redis.durability is replicas, but this Redis has no WAIT".to_owned();
        Self { call, needed: i64::from(settings.durable_replicas), unknown }
    }

    /// Tries it on a connection that has not written anything.
    async fn probe(&self, lane: &Connection) -> Result<(), Error> {
        let doing = "asking Redis to confirm what it has written";
        match lane.command(&self.call).await {
            Ok(value) => self.read(value).map_err(error::at(doing)),
            Err(error) if error.code() == Some("ERR") => {
                Err(Error::Misconfigured(format!("{}: {error}", self.unknown)))
            }
            Err(error) => Err(error::at(doing)(error)),
        }
    }

    fn read(&self, value: Value) -> RedisResult<()> {
        let first = match answer(value)? {
            Value::Array(values) => values.into_iter().next().ok_or_else(senseless)?,
            value => value,
        };
        match first {
            Value::Int(count) if count >= self.needed => Ok(()),
            Value::Int(count) => Err(unconfirmed(count, self.needed)),
            _ => Err(senseless()),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn unconfirmed(count: i64, needed: i64) -> RedisError {
    let text =
        format!("only {count} of {needed} have confirmed in time that what was written lasts");
    io::Error::new(io::ErrorKind::TimedOut, text).into()
}

/// Sends what waits, one batch after the other, until nobody can ask for more.
async fn serve(lane: Connection, confirm: Confirm, calls: Arc<Mutex<mpsc::Receiver<Call>>>) {
    loop {
        let Batch { calls, mut commands } = gather::gather(&mut *calls.lock().await).await;
        if calls.is_empty() {
            return;
        }
        commands.push(confirm.call.clone());
        let answers = match lane.pipeline(&pipeline(commands)).await {
            Ok(mut values) => {
                let confirmed = values.pop().ok_or_else(senseless);
                confirmed.and_then(|value| confirm.read(value)).map(|()| values)
            }
            Err(error) => Err(error),
        };
        gather::hand_out(calls, answers);
    }
}
