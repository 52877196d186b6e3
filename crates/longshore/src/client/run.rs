//! `longshore run`.

use std::{
    fs,
    io::{self, Read},
    time::Duration,
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use longshore_core::json;
use longshore_proto::{
    longrunning::Operation,
    v1::{self, RetryPolicy, RunJobRequest, run_job_request::InputKind},
};
use serde_json::Value;
use tonic::Request;

use super::{Client, Drawing, Stream, end, failure::Refused, show, wait, watch};
use crate::{
    cli::{Input, Priority, Run},
    exit::{BadInput, Exit},
};

/// How long it may take until a job is accepted.
const ACCEPT: Duration = Duration::from_secs(30);

/// Submits a job, and follows it if asked to.
pub(crate) async fn run(args: &Run) -> Result<Exit> {
    let request = request(args)?;
    let client = Client::connect(&args.connection).await?;
    let operation = client.run_job(&request).await?;
    let name = operation.name.clone();
    if args.wait {
        let operation = wait(&client, &name, args.timeout).await?;
        return end(args.output.format, &operation);
    }
    if args.watch {
        let mut drawing = Drawing::new(Stream::Error);
        let operation = watch(&client, &name, |operation| drawing.draw(operation)).await?;
        drawing.finish();
        return end(args.output.format, &operation);
    }
    show(args.output.format, &operation)?;
    Ok(Exit::Fine)
}

impl Client {
    /// Submits a job. It is safe to repeat because the request has an id.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) async fn run_job(&self, request: &RunJobRequest) -> Result<Operation, Refused> {
        self.call(|mut client| {
            let mut request = Request::new(request.clone());
            request.set_timeout(ACCEPT);
            async move { client.jobs.run_job(request).await }
        })
        .await
    }
}

fn request(args: &Run) -> Result<RunJobRequest> {
    let schedule_time = match args.delay {
        Some(delay) => Some(in_future(delay)?),
        None => args.at,
    };
    Ok(RunJobRequest {
        parent: args.parent.clone(),
        job_type: args.job_type.clone(),
        input_kind: input(args)?,
        request_id: args.request_id.clone().unwrap_or_else(random_id),
        validate_only: args.validate_only,
        labels: args.labels.iter().cloned().collect(),
        works_on: args.works_on.clone(),
        priority: args.priority.map_or(v1::Priority::Unspecified, priority).into(),
        schedule_time,
        queue_timeout: span(args.queue_timeout)?,
        run_timeout: span(args.run_timeout)?,
        retry_policy: args
            .max_attempts
            .map(|max_attempts| RetryPolicy { max_attempts, ..RetryPolicy::default() }),
        ttl: span(args.ttl)?,
    })
}

fn input(args: &Run) -> Result<Option<InputKind>> {
    if let Some(source) = &args.typed_input {
        let message =
            json::any_from_json(read(source)?).map_err(BadInput::from).context("--typed-input")?;
        return Ok(Some(InputKind::TypedInput(message)));
    }
    let Some(source) = &args.input else { return Ok(None) };
    let message =
        json::struct_from_json(read(source)?).map_err(BadInput::from).context("--input")?;
    Ok(Some(InputKind::Input(message)))
}

fn read(source: &Input) -> Result<Value> {
    let text = match source {
        Input::Text(text) => text.clone(),
        Input::File(path) => fs::read_to_string(path)
            .map_err(BadInput::from)
            .with_context(|| format!("can't read {}", path.display()))?,
        Input::Stdin => {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .map_err(BadInput::from)
                .context("can't read standard input")?;
            text
        }
    };
    serde_json::from_str(&text).map_err(BadInput::from).context("the input is not JSON")
}

fn priority(priority: Priority) -> v1::Priority {
    match priority {
        Priority::Low => v1::Priority::Low,
        Priority::Normal => v1::Priority::Normal,
        Priority::High => v1::Priority::High,
    }
}

fn in_future(delay: Duration) -> Result<prost_types::Timestamp> {
    let time = Timestamp::now().checked_add(delay).map_err(BadInput::from).context("--delay")?;
    Ok(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
}

fn span(span: Option<Duration>) -> Result<Option<prost_types::Duration>> {
    let convert = |span| prost_types::Duration::try_from(span).map_err(BadInput::from);
    Ok(span.map(convert).transpose()?)
}

/// 128 random bits, so that a call whose answer got lost can be repeated.
fn random_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}
