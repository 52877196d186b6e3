//! Runs an executable from its start to its response or error.

use std::{io, process::ExitStatus, process::Stdio, time::Duration};

use command_fds::{CommandFdExt, FdMapping};
use futures::future::{Either, join4, select};
use longshore_core::{json, record::Payload};
use longshore_proto::rpc::Code;
use nix::sys::signal::Signal;
use tokio::{
    net::unix::pipe,
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::{
    config::JobConfig,
    exit,
    group::Group,
    output::{Tail, TooLong, last_value},
    pipes,
};
use crate::{context::Context, error::JobError, handler::unwritable};

/// Where progress goes.
const PROGRESS_FD: i32 = 3;
/// How long pipes are read on after the executable has ended and its group was killed: they are
/// empty and closed then, unless a process that left the group holds them open.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Runs it. Dropping the future kills it, with all its children.
pub(super) async fn run(
    config: &JobConfig,
    input: Option<Payload>,
    context: Context,
) -> Result<Payload, JobError> {
    let input = json::payload_to_json(input.as_ref()).to_string();
    let group = Group::new().map_err(|error| unstartable("/bin/sh", &error))?;
    let (mut child, reports) = start(config, &context, &group)
        .map_err(|error| unstartable(&config.program.to_string_lossy(), &error))?;

    let mut output = Tail::new(config.max_output.get());
    let mut errors = pipes::stderr_tail();
    let status = {
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pipes = Box::pin(join4(
            pipes::feed(stdin, input.as_bytes()),
            pipes::stdout(stdout, &mut output),
            pipes::stderr(stderr, &mut errors),
            pipes::progress(reports, &context),
        ));
        let exit = Box::pin(exit(config, &context, &group, &mut child));
        let (status, pipes) = match select(exit, pipes).await {
            Either::Left((status, pipes)) => (status, Some(pipes)),
            Either::Right((_, exit)) => (exit.await, None),
        };
        group.kill().await;
        if let Some(pipes) = pipes
            && timeout(LEFTOVERS, pipes).await.is_err()
        {
            tracing::warn!("a process that left the job's process group holds its pipes open");
        }
        status.map_err(|error| unstartable("the job", &error))?
    };
    let (errors, _) = errors.finish();
    match exit::error(config, status, &errors) {
        Some(error) => Err(error),
        None => response(config, output),
    }
}

fn start(
    config: &JobConfig,
    context: &Context,
    group: &Group,
) -> io::Result<(Child, pipe::Receiver)> {
    let (sender, receiver) = pipe::pipe()?;
    let mut command = Command::new(&config.program);
    command
        .args(&config.args)
        .current_dir(&config.cwd)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // The worker's own settings are none of the job's business: there may be passwords in them.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"LONGSHORE_") {
            command.env_remove(name);
        }
    }
    command.envs(&config.env).envs(environment(context));
    let progress = FdMapping { parent_fd: sender.into_blocking_fd()?, child_fd: PROGRESS_FD };
    command.fd_mappings(vec![progress]).map_err(io::Error::other)?;
    // The command holds our copy of the pipe's other end: it goes with it.
    Ok((group.spawn(&mut command)?, receiver))
}

fn environment(context: &Context) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("LONGSHORE_OPERATION", context.operation().to_string()),
        ("LONGSHORE_JOB_TYPE", context.job_type().to_owned()),
        ("LONGSHORE_ATTEMPT", context.attempt().to_string()),
    ];
    if let Some(run_timeout) = context.run_timeout() {
        environment.push(("LONGSHORE_RUN_TIMEOUT", run_timeout.as_secs_f64().to_string()));
    }
    let trace = context.trace();
    for (name, value) in [("TRACEPARENT", &trace.traceparent), ("TRACESTATE", &trace.tracestate)] {
        if !value.is_empty() {
            environment.push((name, value.clone()));
        }
    }
    environment
}

/// Waits for the end; brings it about when the job is to stop.
async fn exit(
    config: &JobConfig,
    context: &Context,
    group: &Group,
    child: &mut Child,
) -> io::Result<ExitStatus> {
    tokio::select! {
        status = child.wait() => return status,
        () = context.cancelled() => {}
    }
    group.signal(Signal::SIGTERM);
    tokio::select! {
        status = child.wait() => return status,
        () = sleep(config.grace) => {}
    }
    tracing::warn!("the job did not stop in time: killing it");
    group.signal(Signal::SIGKILL);
    child.wait().await
}

/// What keeps one worker from starting it need not keep another: the retry policy decides.
fn unstartable(program: &str, error: &io::Error) -> JobError {
    let code = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Code::FailedPrecondition,
        _ => Code::Unavailable,
    };
    JobError::new(code, format!("can't run {program}: {error}"))
}

fn response(config: &JobConfig, output: Tail) -> Result<Payload, JobError> {
    let (output, cut) = output.finish();
    match last_value(&output, cut) {
        Ok(value) => {
            json::response_from_json(value.unwrap_or_default()).map_err(|error| unwritable(&error))
        }
        Err(TooLong) => {
            let message =
                format!("no response within the last {} bytes of the output", config.max_output);
            Err(JobError::fatal(Code::ResourceExhausted, message))
        }
    }
}
