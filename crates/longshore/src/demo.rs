//! `longshore demo`: the main job on a real one, in one process, over the real API.

mod files;

use std::{env, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use longshore_core::telemetry;
use longshore_proto::{
    longrunning::{Operation, operation},
    rpc::Code,
    v1::{RunJobRequest, run_job_request::InputKind},
};
use prost_types::Any;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{Connection, Demo, Format},
    client::{Client, Drawing, Stream, percent, say, show, watch_until},
    exit::Exit,
    process::keep,
    roles::start_all,
    settings::Settings,
};

/// How long each of the two operations may take: a large directory takes its time.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// How long the second one is to take at least, so that there is time to cancel it.
const LONG_ENOUGH: Duration = Duration::from_secs(4);
/// More than any percentage.
const NEVER: f64 = 101.0;

/// Shows the main job: run it, follow it, cancel it.
pub(crate) async fn run(args: &Demo) -> Result<Exit> {
    let home = tempfile::tempdir().context("can't make a directory for the demo")?;
    let jobs = files::write_jobs(home.path())?;
    let directory = match &args.directory {
        Some(directory) => directory
            .canonicalize()
            .with_context(|| format!("can't read {}", directory.display()))?,
        None => files::write_sample(&home.path().join("sample"))?,
    };

    let mut settings = Settings::default();
    settings.telemetry.log_filter = "error".to_owned();
    settings.gateway.listen.set_port(0);
    settings.exec.jobs = Some(jobs);
    let telemetry = telemetry::init(&settings.telemetry, "longshore-demo")?;

    say("Every role of Longshore starts in this process; records are kept in memory.")?;
    let (parts, address, _) = start_all(&settings).await?;
    let stop = CancellationToken::new();
    let shown = async {
        let outcome = present(format!("http://{address}"), &directory).await;
        stop.cancel();
        outcome
    };
    let (kept, shown) = tokio::join!(keep(parts, &stop), shown);
    telemetry.shutdown().await;
    shown.and(kept)?;
    farewell()?;
    Ok(Exit::Fine)
}

async fn present(server: String, directory: &Path) -> Result<()> {
    let client = Client::connect(&Connection { server, traceparent: None }).await?;
    let shown = directory.display();

    say(&format!("\n1. Run a job: hash every file under {shown}.\n"))?;
    let start = Instant::now();
    let operation = submit(&client, directory, Duration::ZERO).await?;
    let operation = follow(&client, &operation, NEVER).await?;
    let files = match &operation.result {
        Some(operation::Result::Response(response)) => files_in(response),
        Some(operation::Result::Error(status)) => bail!("the job failed: {}", status.message),
        None => bail!("the job did not end"),
    };
    say("\nThe operation as every client of google.longrunning.Operations sees it:\n")?;
    show(Format::Json, &operation)?;
    ensure!(files > 0.0, "there are no files under {shown}");

    say("\n2. Run it again, and cancel it half-way.\n")?;
    let pause = LONG_ENOUGH.saturating_sub(start.elapsed()).div_f64(files);
    let operation = submit(&client, directory, pause).await?;
    let halfway = follow(&client, &operation, 50.0).await?;
    ensure!(!halfway.done, "the job ended before it was half-way");
    client.cancel(&operation.name).await?;
    let operation = follow(&client, &operation, NEVER).await?;
    match &operation.result {
        Some(operation::Result::Error(status)) if status.code == Code::Cancelled as i32 => {}
        Some(operation::Result::Error(status)) => {
            bail!("the cancelled job failed otherwise: {}", status.message)
        }
        Some(operation::Result::Response(_)) | None => {
            bail!("the job ended before it could be cancelled")
        }
    }
    say("\nIt ended with the error CANCELLED, code 1:\n")?;
    show(Format::Json, &operation)?;
    Ok(())
}

/// Submits the job, with a pause after each file.
async fn submit(client: &Client, directory: &Path, pause: Duration) -> Result<Operation> {
    let mut input =
        json!({ "directory": directory.to_str().context("the directory's name is not UTF-8")? });
    // The shell reads no number with an exponent.
    if pause >= Duration::from_millis(1) {
        input["pause"] = json!(pause.as_secs_f64());
    }
    let request = RunJobRequest {
        job_type: "hash".to_owned(),
        input_kind: Some(InputKind::Input(longshore_core::json::struct_from_json(input)?)),
        ..RunJobRequest::default()
    };
    Ok(client.run_job(&request).await?)
}

/// How many files the job has hashed, as it says.
fn files_in(response: &Any) -> f64 {
    let response = longshore_core::json::any_to_json(response);
    response["value"]["files"].as_f64().unwrap_or_default()
}

/// Draws the operation's progress until it has come so far, in percent, or has ended.
async fn follow(client: &Client, operation: &Operation, enough: f64) -> Result<Operation> {
    let mut drawing = Drawing::new(Stream::Output);
    let come_so_far = |operation: &Operation| {
        drawing.draw(operation);
        percent(operation).is_some_and(|percent| percent >= enough)
    };
    let followed =
        watch_until(client, &operation.name, Instant::now() + PATIENCE, come_so_far).await;
    drawing.finish();
    Ok(followed?)
}

/// The commands to go on with.
fn farewell() -> Result<()> {
    let longshore = env::current_exe()
        .ok()
        .and_then(|path| short(&path))
        .unwrap_or_else(|| "longshore".to_owned());
    let here = env::current_dir().context("can't tell where this is")?;
    let directory =
        [here.join("crates"), here].into_iter().find(|path| path.is_dir()).unwrap_or_default();
    let input = json!({ "directory": directory.to_string_lossy() });
    say(&format!(
        "\nGo on with a server of your own:

  {longshore} dev --jobs examples/jobs.toml

and in another terminal:

  {longshore} run hash --input '{input}' --watch
  {longshore} run sleep --input '{{\"seconds\": 60}}' -o name      # prints the operation's NAME
  {longshore} watch NAME
  {longshore} cancel NAME
  {longshore} list
  {longshore} --help"
    ))?;
    Ok(())
}

/// The path as one would type it here.
fn short(path: &Path) -> Option<String> {
    let here = env::current_dir().ok()?;
    let short =
        path.strip_prefix(here).map_or_else(|_| path.to_owned(), |rest| Path::new(".").join(rest));
    short.to_str().map(str::to_owned)
}
