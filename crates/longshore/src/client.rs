//! The client commands: calls to a server, and what they show.
//!
//! Results go to standard output, all else to standard error, so that output can be piped.

mod connection;
mod failure;
mod follow;
mod list;
mod progress;
mod run;
mod show;

use anyhow::Result;
use longshore_proto::{
    longrunning::{
        CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, Operation, operation,
    },
    rpc::Code,
};

use crate::{
    cli::{Format, Named, Wait},
    exit::Exit,
};

pub(crate) use connection::Client;
pub(crate) use failure::{Refused, Unreachable};
pub(crate) use follow::{wait, watch, watch_until};
pub(crate) use list::list;
pub(crate) use progress::{Drawing, Stream, percent};
pub(crate) use run::run;
pub(crate) use show::{complain, plain_table, say, show, time_text};

/// Shows an operation.
pub(crate) async fn get(args: &Named) -> Result<Exit> {
    let client = Client::connect(&args.connection).await?;
    show(args.output.format, &client.get(&args.name).await?)?;
    Ok(Exit::Fine)
}

/// Waits for an operation's end and shows it.
pub(crate) async fn wait_for(args: &Wait) -> Result<Exit> {
    let client = Client::connect(&args.named.connection).await?;
    let operation = wait(&client, &args.named.name, args.timeout).await?;
    end(args.named.output.format, &operation)
}

/// Shows an operation's progress until its end.
pub(crate) async fn watch_it(args: &Named) -> Result<Exit> {
    let client = Client::connect(&args.connection).await?;
    let mut drawing = Drawing::new(Stream::Error);
    let operation = watch(&client, &args.name, |operation| drawing.draw(operation)).await?;
    drawing.finish();
    end(args.output.format, &operation)
}

/// Asks for an operation's work to stop and shows how it stands then.
pub(crate) async fn cancel(args: &Named) -> Result<Exit> {
    let client = Client::connect(&args.connection).await?;
    client.cancel(&args.name).await?;
    show(args.output.format, &client.get(&args.name).await?)?;
    Ok(Exit::Fine)
}

/// Forgets an operation.
pub(crate) async fn delete(args: &Named) -> Result<Exit> {
    let client = Client::connect(&args.connection).await?;
    client.delete(&args.name).await?;
    Ok(Exit::Fine)
}

/// Shows an operation that is meant to have ended, and says by the exit code how it did.
fn end(format: Format, operation: &Operation) -> Result<Exit> {
    show(format, operation)?;
    match &operation.result {
        Some(operation::Result::Error(status)) => {
            let code = Code::try_from(status.code).unwrap_or(Code::Unknown).as_str_name();
            complain(&format!("the operation ended with {code}: {}", status.message))?;
            Ok(Exit::Failed)
        }
        Some(operation::Result::Response(_)) => Ok(Exit::Fine),
        None if operation.done => Ok(Exit::Fine),
        None => {
            complain("the operation has not ended yet")?;
            Ok(Exit::StillRunning)
        }
    }
}

impl Client {
    /// The operation as it is now.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) async fn get(&self, name: &str) -> Result<Operation, Refused> {
        let request = || GetOperationRequest { name: name.to_owned() };
        self.call(|mut client| async move {
            client.operations.get_operation(connection::brief(request())).await
        })
        .await
    }

    /// Asks for the work to stop.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) async fn cancel(&self, name: &str) -> Result<(), Refused> {
        let request = || CancelOperationRequest { name: name.to_owned() };
        self.call(|mut client| async move {
            client.operations.cancel_operation(connection::brief(request())).await
        })
        .await
    }

    /// Forgets the operation.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) async fn delete(&self, name: &str) -> Result<(), Refused> {
        let request = || DeleteOperationRequest { name: name.to_owned() };
        self.call(|mut client| async move {
            client.operations.delete_operation(connection::brief(request())).await
        })
        .await
    }
}
