//! The service `google.longrunning.Operations`.

use longshore_core::{lifecycle::Input, names::OperationName, telemetry};
use longshore_proto::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest,
    ListOperationsResponse, Operation, WaitOperationRequest, operations_server::Operations,
};
use tonic::{Request, Response, Status};

use crate::{
    api::Api,
    errors::{Reason, Refusal},
    reads::{self, bounded, once_more},
    surface::Method,
};

#[tonic::async_trait]
impl Operations for Api {
    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let time = self.time_for(request.metadata());
        Ok(Response::new(bounded(time, self.list(&request)).await?))
    }

    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (name, surface) = self.named(&request, Method::Get, &request.get_ref().name)?;
        let time = self.time_for(request.metadata());
        let read = once_more(|_| reads::load(&self.ledger, &name));
        let stored = bounded(time, read).await?;
        telemetry::concerns(&stored.record);
        Ok(Response::new(surface.operation(&stored.record)))
    }

    async fn delete_operation(
        &self,
        request: Request<DeleteOperationRequest>,
    ) -> Result<Response<()>, Status> {
        let (name, _) = self.named(&request, Method::Delete, &request.get_ref().name)?;
        bounded(self.time_for(request.metadata()), self.delete(name)).await?;
        Ok(Response::new(()))
    }

    async fn cancel_operation(
        &self,
        request: Request<CancelOperationRequest>,
    ) -> Result<Response<()>, Status> {
        let (name, _) = self.named(&request, Method::Cancel, &request.get_ref().name)?;
        bounded(self.time_for(request.metadata()), self.cancel(name)).await?;
        Ok(Response::new(()))
    }

    async fn wait_operation(
        &self,
        request: Request<WaitOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        Ok(Response::new(self.wait(request).await?))
    }
}

impl Api {
    async fn cancel(&self, name: OperationName) -> Result<(), Refusal> {
        let cancel = Input::Cancel { parent: name.parent.clone() };
        match once_more(|_| self.changes.apply(name.id.clone(), cancel.clone())).await {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.reason == Reason::OperationNotFound => {
                Err(Refusal::not_found(&name))
            }
            Err(refusal) => Err(refusal),
        }
    }

    async fn delete(&self, name: OperationName) -> Result<(), Refusal> {
        let delete = Input::Delete { parent: name.parent.clone() };
        let attempt =
            async |attempt| match self.changes.apply(name.id.clone(), delete.clone()).await {
                Ok(_) => Ok(()),
                // The attempt before was written after all, and only its answer got lost.
                Err(refusal) if attempt > 1 && refusal.reason == Reason::OperationNotFound => {
                    Ok(self.ledger.store().settle().await?)
                }
                Err(refusal) if refusal.reason == Reason::OperationNotFound => {
                    Err(Refusal::not_found(&name))
                }
                Err(refusal) => Err(refusal),
            };
        once_more(attempt).await
    }
}
