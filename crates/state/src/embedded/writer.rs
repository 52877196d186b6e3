//! The thread that writes to the file: whatever is waiting goes into one transaction.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::sync::{mpsc, oneshot};

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
pub(super) struct Writer {
    /// None only while it is being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
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

impl Drop for Writer {
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
        let writes: Vec<&Write> = jobs.iter().map(|job| &job.write).collect();
        let mut answers: Vec<Answer> =
            match database.with(|database| write::apply(database, &writes)) {
                Ok(verdicts) => verdicts.into_iter().map(Ok).collect(),
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "can't write to the database"
                    );
                    database.reopen();
                    let error = Arc::new(error);
                    jobs.iter().map(|_| Err(Arc::clone(&error))).collect()
                }
            };
        for (job, answer) in jobs.drain(..).zip(answers.drain(..)) {
            // Whoever does not wait any more need not know.
            drop(job.answer.send(answer));
        }
    }
}
