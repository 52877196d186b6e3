//! The service `longshore.v1.Jobs`.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use longshore_core::{
    lifecycle::{Input, Submit, step},
    names::Parent,
};
use longshore_proto::{
    longrunning::{Operation, operation},
    v1::{RunJobRequest, WatchOperationRequest, jobs_server::Jobs},
};
use prost_types::Any;
use tonic::{Request, Response, Status};

use crate::{
    api::{self, Api},
    errors::{Reason, Refusal},
    reads::{bounded, once_more},
    surface::{Method, Surface},
    validate,
};

#[tonic::async_trait]
impl Jobs for Api {
    type WatchOperationStream = Pin<Box<dyn Stream<Item = Result<Operation, Status>> + Send>>;

    async fn run_job(
        &self,
        request: Request<RunJobRequest>,
    ) -> Result<Response<Operation>, Status> {
        let trace = api::trace(request.metadata());
        let time = self.time_for(request.metadata());
        let surface = self.surface_of(&request)?;
        let request = request.into_inner();
        let validate_only = request.validate_only;
        let submit = validate::submit(request, &self.settings, trace)?;
        // A parent that is none has been refused by now.
        let surface = surface
            .ok_or_else(|| Refusal::new(Reason::Internal, "a job was accepted without a parent"))?;
        let operation = async {
            if validate_only {
                self.preview(submit, &surface).await
            } else {
                self.submit(submit, &surface).await
            }
        };
        Ok(Response::new(bounded(time, operation).await?))
    }

    async fn watch_operation(
        &self,
        request: Request<WatchOperationRequest>,
    ) -> Result<Response<Self::WatchOperationStream>, Status> {
        let states = self.watch(&request).await?;
        Ok(Response::new(states.map(|state| state.map_err(Status::from)).boxed()))
    }
}

impl Api {
    /// The surface of a job; `None` if the parent is none.
    fn surface_of(
        &self,
        request: &Request<RunJobRequest>,
    ) -> Result<Option<Arc<Surface>>, Refusal> {
        match Parent::parse(&request.get_ref().parent) {
            Ok(parent) => self.surfaces.of_call(request, Method::Run, &parent).map(Some),
            // It is told with all else that is wrong.
            Err(_) => Ok(None),
        }
    }

    async fn submit(&self, submit: Submit, surface: &Surface) -> Result<Operation, Refusal> {
        let id = submit.id.clone();
        let input = Input::Submit(Box::new(submit));
        let applied = once_more(|_| self.changes.apply(id.clone(), input.clone())).await?;
        Ok(surface.operation(&applied.record))
    }

    /// What a submit would lead to, without doing it (AIP-163).
    async fn preview(&self, submit: Submit, surface: &Surface) -> Result<Operation, Refusal> {
        let ids = [submit.id.clone()];
        let load = async |_| match self.ledger.store().load(&ids).await.pop() {
            Some(loaded) => loaded.map_err(Refusal::from),
            None => Err(Refusal::new(Reason::Internal, "the store did not answer")),
        };
        let loaded = once_more(load).await?;
        let record = loaded.stored.map(|stored| stored.record);
        let step = step(record, Input::Submit(Box::new(submit)), loaded.now, self.ledger.rules())
            .map_err(longshore_state::ledger::Error::from)?;
        let nothing = Any { type_url: EMPTY.to_owned(), value: Vec::new() };
        Ok(Operation {
            name: String::new(),
            metadata: surface.metadata(&step.record),
            done: true,
            result: Some(operation::Result::Response(nothing)),
        })
    }
}

/// The type of a response that says nothing.
const EMPTY: &str = "type.googleapis.com/google.protobuf.Empty";
