//! Calls that come up while others are on their way go together into the next pipeline: under load
//! few large pieces are written and read instead of many small ones, at rest none waits.

use std::{io, sync::Arc};

use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};

use super::connection::Connection;

/// How many calls may be on their way each by itself. Those beyond go together.
const ALONE: usize = 2;
/// How many pipelines of gathered calls may be on their way.
const TOGETHER: usize = 2;
/// From so many commands on a pipeline takes no more calls.
const COMMANDS: usize = 256;
/// How many calls may wait to be sent; more wait to wait.
pub(super) const WAITING: usize = 1024;

/// The way of many small calls to Redis.
pub(super) struct Gatherer {
    connection: Arc<Connection>,
    alone: Semaphore,
    /// None in a cluster: there a node that is slow would hold up the calls for all others.
    calls: Option<mpsc::Sender<Call>>,
}

/// Where the answers to commands are awaited.
pub(super) type Answer = oneshot::Sender<RedisResult<Vec<Value>>>;

/// Commands that are answered together.
pub(super) struct Call {
    pub(super) commands: Vec<Cmd>,
    pub(super) answer: Answer,
}

/// Calls that are sent together.
#[derive(Default)]
pub(super) struct Batch {
    /// How many commands each has, and who waits for its answer.
    pub(super) calls: Vec<(usize, Answer)>,
    pub(super) commands: Vec<Cmd>,
}

impl Gatherer {
    /// Gathers for a connection.
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        let calls = (!connection.is_cluster()).then(|| {
            let (sender, calls) = mpsc::channel(WAITING);
            let calls = Arc::new(Mutex::new(calls));
            for _ in 0..TOGETHER {
                tokio::spawn(serve(Arc::clone(&connection), Arc::clone(&calls)));
            }
            sender
        });
        Self { connection, alone: Semaphore::new(ALONE), calls }
    }

    /// Sends commands, if need be with those of others. The answers come in their order, errors
    /// among them.
    pub(super) async fn call(&self, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        let place = self.alone.try_acquire();
        let calls = match &self.calls {
            Some(calls) if place.is_err() => calls,
            Some(_) | None => return self.connection.pipeline(&pipeline(commands)).await,
        };
        self.connection.in_time(ask(calls, commands)).await
    }
}

/// Has commands sent by those who gather.
pub(super) async fn ask(calls: &mpsc::Sender<Call>, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
    let (answer, answered) = oneshot::channel();
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    calls.send(Call { commands, answer }).await.map_err(|_| gone())?;
    answered.await.map_err(|_| gone())?
}

/// Commands to be sent in one piece.
pub(super) fn pipeline(commands: Vec<Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

/// Sends what waits, one batch after the other, until nobody can ask for more.
async fn serve(connection: Arc<Connection>, calls: Arc<Mutex<mpsc::Receiver<Call>>>) {
    loop {
        let Batch { calls, commands } = gather(&mut *calls.lock().await).await;
        if calls.is_empty() {
            return;
        }
        hand_out(calls, connection.pipeline(&pipeline(commands)).await);
    }
}

/// Takes what waits, as soon as there is something; nothing if nobody can ask for more.
pub(super) async fn gather(calls: &mut mpsc::Receiver<Call>) -> Batch {
    let mut batch = Batch::default();
    while batch.commands.len() < COMMANDS {
        let next = if batch.calls.is_empty() { calls.recv().await } else { calls.try_recv().ok() };
        let Some(call) = next else { break };
        // Whoever does not wait any more was not answered: nothing need have been done.
        if !call.answer.is_closed() {
            batch.calls.push((call.commands.len(), call.answer));
            batch.commands.extend(call.commands);
        }
    }
    batch
}

/// Gives each call its answers.
pub(super) fn hand_out(calls: Vec<(usize, Answer)>, answers: RedisResult<Vec<Value>>) {
    let mut answers = answers.map(Vec::into_iter);
    for (count, waiting) in calls {
        let answer = match &mut answers {
            Ok(values) => Ok(values.take(count).collect()),
            Err(error) => Err(error.clone()),
        };
        // Whoever does not wait any more need not know.
        drop(waiting.send(answer));
    }
}
