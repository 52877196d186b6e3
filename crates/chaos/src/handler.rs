//! The executable that the cases' jobs run: it does what its input says, and writes down that it
//! does.

use std::{
    io::Read, os::unix::process::parent_id, path::PathBuf, process::ExitCode, time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::attempts::{Event, Line, write};

/// How often it writes down that it is still at it.
const BEAT: Duration = Duration::from_millis(20);

/// What a worker gives to it.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where attempts are written down.
    #[arg(long)]
    attempts: PathBuf,
    #[arg(long, env = "LONGSHORE_OPERATION")]
    operation: String,
    #[arg(long, env = "LONGSHORE_ATTEMPT")]
    attempt: u32,
}

/// What it is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Comes back in the response.
    pub number: u32,
    /// How long to be at it.
    pub millis: u64,
    /// And then.
    pub then: Then,
}

/// What comes after the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// A response with the number.
    Succeed,
    /// An error that is final.
    Fail,
    /// It is at it until it is stopped.
    GoOn,
    /// It kills its worker.
    KillWorker,
}

/// The exit code that stands for INVALID_ARGUMENT.
const FINAL: u8 = 65;

/// Does what standard input says.
pub fn run(arguments: &Arguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(work(arguments)))
    {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the worker reads it")]
            {
                eprintln!("{error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn work(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let note = |event| {
        let operation = arguments.operation.clone();
        let line = Line { operation, attempt: arguments.attempt, worker_pid: parent_id(), event };
        write(&arguments.attempts, &line)
    };
    note(Event::Start)?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let input: Input = serde_json::from_str(&text)?;
    let end = Instant::now() + Duration::from_millis(input.millis);
    while Instant::now() < end || input.then == Then::GoOn {
        sleep(BEAT).await;
        note(Event::Beat)?;
    }
    match input.then {
        Then::KillWorker => {
            kill(Pid::from_raw(parent_id().cast_signed()), Signal::SIGKILL)?;
            // The worker's death is this one's as well.
            std::future::pending().await
        }
        Then::Fail => {
            note(Event::End)?;
            #[expect(clippy::print_stderr, reason = "the worker reads it")]
            {
                eprintln!("told to fail");
            }
            Ok(ExitCode::from(FINAL))
        }
        Then::Succeed | Then::GoOn => {
            note(Event::End)?;
            #[expect(clippy::print_stdout, reason = "the worker reads it")]
            {
                println!("{}", serde_json::json!({ "number": input.number }));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
