//! The commands that Redis gets, built beforehand.

use std::sync::LazyLock;

use anyhow::{Result, ensure};
use longshore_core::index::Index;
use longshore_state::store::{After, Change};
use redis::{
    AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, Pipeline, Script, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    io::tcp::TcpSettings,
};

use crate::lives::PARTITIONS;

/// The script that ships.
const COMMIT: &str = concat!(
    include_str!("../../../state/lua/packs.lua"),
    "\n",
    include_str!("../../../state/lua/commit.lua")
);

/// Under which hash Redis knows it.
static HASH: LazyLock<String> = LazyLock::new(|| Script::new(COMMIT).get_hash().to_owned());

/// How many changes the store makes by one call at most.
const TOGETHER: usize = 64;

/// A connection that knows the script.
#[derive(Clone)]
pub(crate) struct Redis {
    connection: MultiplexedConnection,
}

impl Redis {
    /// Connects and loads the script.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let info = url.into_connection_info()?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let client = Client::open(info)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Script::new(COMMIT).prepare_invoke().load_async(&mut connection).await?;
        Ok(Self { connection })
    }

    /// Asks for the time and some records in one round trip.
    pub(crate) async fn load<'a>(&mut self, loads: impl Iterator<Item = &'a Cmd>) -> Result<()> {
        let mut pipeline = Pipeline::new();
        pipeline.add_command(redis::cmd("TIME"));
        loads.for_each(|load| {
            pipeline.add_command(load.clone());
        });
        let count = pipeline.len();
        let answers = self.connection.req_packed_commands(&pipeline, 0, count).await?;
        ensure!(answers.len() == count, "Redis does not answer all commands");
        Ok(())
    }

    /// Commits in one round trip, as many by one call as the store does.
    pub(crate) async fn commit<'a>(
        &mut self,
        changes: impl Iterator<Item = &'a Commit>,
    ) -> Result<()> {
        let changes: Vec<&Commit> = changes.collect();
        let mut pipeline = Pipeline::new();
        for changes in changes.chunks(TOGETHER) {
            pipeline.add_command(call(changes));
        }
        let count = pipeline.len();
        let answers = self.connection.req_packed_commands(&pipeline, 0, count).await?;
        let committed: usize = answers.iter().map(committed).sum();
        let count = changes.len();
        ensure!(committed == count, "{committed} of {count} were committed: {answers:?}");
        Ok(())
    }

    /// How many operations are not done; what is packed away counts less, but for something.
    pub(crate) async fn active(&mut self) -> Result<usize> {
        let sets = (0..PARTITIONS).map(|partition| list(partition, &Index::AllActive));
        let cards =
            sets.flat_map(|set| [count("ZCARD", "", &set), count("ZCARD", "ls:packs:", &set)]);
        self.sum(cards).await
    }

    /// How many operations there are.
    pub(crate) async fn all(&mut self) -> Result<usize> {
        let sets = (0..PARTITIONS).map(timers);
        let counts =
            sets.flat_map(|set| [count("ZCARD", "", &set), count("GET", "ls:packed:", &set)]);
        self.sum(counts).await
    }

    async fn sum(&mut self, commands: impl Iterator<Item = Cmd>) -> Result<usize> {
        let mut pipeline = Pipeline::new();
        commands.for_each(|command| {
            pipeline.add_command(command);
        });
        let counts: Vec<Option<usize>> = pipeline.query_async(&mut self.connection).await?;
        Ok(counts.into_iter().flatten().sum())
    }

    /// A line of `INFO`.
    pub(crate) async fn info(&mut self, section: &str, field: &str) -> Result<String> {
        let text: String =
            redis::cmd("INFO").arg(section).query_async(&mut self.connection).await?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(line.unwrap_or_default().to_owned())
    }
}

/// The reading of a change's record.
pub(crate) fn load(change: &Change) -> Cmd {
    let mut load = redis::cmd("GET");
    load.arg(record(change));
    load
}

/// What a change has of a call of the script.
pub(crate) struct Commit {
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
}

/// A change as the script takes it.
pub(crate) fn commit(change: &Change) -> Commit {
    let partition = change.id.partition(PARTITIONS);
    let lists = &change.lists;
    let mut keys = vec![record(change), timers(partition)];
    keys.extend(lists.add.iter().chain(&lists.remove).map(|index| list(partition, index)));
    let text = |number: i64| number.to_string().into_bytes();
    let (value, due) = match &change.after {
        After::Record { revision, bytes, next_wake } => {
            ([&revision.to_be_bytes(), bytes.as_ref()].concat(), text(next_wake.as_micros()))
        }
        After::Nothing => Default::default(),
    };
    let arguments = vec![
        keys.len().to_string().into_bytes(),
        lists.add.len().to_string().into_bytes(),
        change.expected.map_or_else(Vec::new, |revision| revision.to_be_bytes().to_vec()),
        value,
        due,
        change.was_due.map_or_else(Vec::new, |time| text(time.as_micros())),
        change.id.as_str().into(),
        text(change.create_time.as_micros()),
    ];
    Commit { keys, arguments }
}

/// The call of the script for some changes.
fn call(changes: &[&Commit]) -> Cmd {
    let mut call = redis::cmd("EVALSHA");
    call.arg(&*HASH).arg(changes.iter().map(|change| change.keys.len()).sum::<usize>());
    for change in changes {
        call.arg(&change.keys);
    }
    for change in changes {
        call.arg(&change.arguments);
    }
    call
}

/// How many changes an answer says are committed.
fn committed(answer: &Value) -> usize {
    match answer {
        Value::Array(values) => values.iter().filter(|value| **value == Value::Int(1)).count(),
        _ => 0,
    }
}

fn record(change: &Change) -> String {
    format!("ls:{{{}}}:{}", change.id.partition(PARTITIONS), change.id)
}

fn count(command: &str, of: &str, set: &str) -> Cmd {
    let mut count = redis::cmd(command);
    count.arg([of, set].concat());
    count
}

fn timers(partition: u16) -> String {
    format!("ls:timer:{{{partition}}}")
}

fn list(partition: u16, index: &Index) -> String {
    match index {
        Index::In(parent) => format!("ls:{{{partition}}}:in:{parent}"),
        Index::Active(parent) => format!("ls:{{{partition}}}:active:{parent}"),
        Index::Ended(parent) => format!("ls:{{{partition}}}:ended:{parent}"),
        Index::On(resource) => format!("ls:{{{partition}}}:on:{resource}"),
        Index::All => format!("ls:{{{partition}}}:all:"),
        Index::AllActive => format!("ls:{{{partition}}}:all:active"),
        Index::AllEnded => format!("ls:{{{partition}}}:all:ended"),
    }
}
