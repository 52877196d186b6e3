//! Who writes: for the file a thread, for memory whoever has something to write. Whatever is waiting
//! goes into one transaction.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use tokio::{
    sync::{mpsc, oneshot},
    task::yield_now,
};

use super::{
    database::Database,
    error,
    write::{self, Write},
};
use crate::store::{Error, Verdict};

/// How many writes may wait, and how many go into one transaction.
const WAITING: usize = 1024;

type Answer = Result<Vec<Verdict>, Arc<redb::Error>>;

struct Job {
    write: Write,
    answer: oneshot::Sender<Answer>,
}

/// The thread's handle. Dropping it waits until everything is written.
pub(super) struct Thread {
    /// None only while it is being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    pub(super) fn start(database: Arc<Database>) -> Result<Self, Error> {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let thread = thread::Builder::new()
            .name("longshore-store".to_owned())
            .spawn(move || run(&database, waiting));
        let thread = thread.map_err(|source| {
            let doing = "starting the thread that writes";
            Error::Unavailable { doing, source: Box::new(source) }
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Writes, and answers once it is on the disk.
    pub(super) async fn write(
        &self,
        doing: &'static str,
        write: Write,
    ) -> Result<Vec<Verdict>, Error> {
        let (sender, answer) = oneshot::channel();
        let gone = || Error::Unavailable { doing, source: "the thread that writes is gone".into() };
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(Job { write, answer: sender }).await.map_err(|_| gone())?;
        let answer = answer.await.map_err(|_| gone())?;
        answer.map_err(|source| error::shared(doing, source))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes has panicked");
        }
    }
}

fn run(database: &Database, mut waiting: mpsc::Receiver<Job>) {
    let mut jobs = Vec::new();
    while waiting.blocking_recv_many(&mut jobs, WAITING) > 0 {
        commit(database, jobs.drain(..));
    }
}

/// Writes to memory, where nothing waits for a disk: whoever has something to write lets all others
/// that can run have their turn, and then writes what has come together.
#[derive(Default)]
pub(super) struct Together(Mutex<Vec<Job>>);

impl Together {
    /// Writes, and answers once it can be read.
    pub(super) async fn write(
        &self,
        database: &Database,
        doing: &'static str,
        write: Write,
    ) -> Result<Vec<Verdict>, Error> {
        let (sender, answer) = oneshot::channel();
        self.jobs().push(Job { write, answer: sender });
        yield_now().await;
        let jobs = mem::take(&mut *self.jobs());
        // Whoever does not wait any more was not answered: nothing need have been done.
        commit(database, jobs.into_iter().filter(|job| !job.answer.is_closed()));
        let gone = || Error::Unavailable { doing, source: "a writer has panicked".into() };
        let answer = answer.await.map_err(|_| gone())?;
        answer.map_err(|source| error::shared(doing, source))
    }

    fn jobs(&self) -> MutexGuard<'_, Vec<Job>> {
        // The list is whole at any moment, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes in one transaction, and answers.
fn commit(database: &Database, jobs: impl Iterator<Item = Job>) {
    let (writes, answers): (Vec<Write>, Vec<_>) = jobs.map(|job| (job.write, job.answer)).unzip();
    if writes.is_empty() {
        return;
    }
    let writes: Vec<&Write> = writes.iter().collect();
    let verdicts: Vec<Answer> = match database.with(|database| write::apply(database, &writes)) {
        Ok(verdicts) => verdicts.into_iter().map(Ok).collect(),
        Err(error) => {
            let error = Arc::new(error);
            tracing::error!(
                error = &*error as &dyn std::error::Error,
                "can't write to the database"
            );
            database.reopen();
            answers.iter().map(|_| Err(Arc::clone(&error))).collect()
        }
    };
    for (answer, verdicts) in answers.into_iter().zip(verdicts) {
        // Whoever does not wait any more need not know.
        drop(answer.send(verdicts));
    }
}
