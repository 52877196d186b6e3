//! Calls the API's methods with what HTTP requests say.

use futures::stream::BoxStream;
use http::Extensions;
use longshore_core::json;
use longshore_proto::{
    longrunning::{GetOperationRequest, Operation, operations_server::Operations},
    v1::jobs_server::Jobs,
};
use prost::{Message, Name};
use prost_reflect::MethodDescriptor;
use serde_json::{Map, Value};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{answer::Whole, explain};
pub(crate) use crate::surface::Method as Rpc;
use crate::{api::Api, errors::Refusal};

/// What a method answers.
pub(crate) enum Answer {
    Whole(Whole),
    States(BoxStream<'static, Result<Operation, Status>>),
}

/// A request's fields, and what else the client sent.
pub(crate) struct Call {
    pub(crate) method: MethodDescriptor,
    pub(crate) fields: Map<String, Value>,
    pub(crate) metadata: MetadataMap,
    pub(crate) extensions: Extensions,
}

impl Rpc {
    /// `None` for methods that are not served here.
    pub(crate) fn of(method: &MethodDescriptor) -> Option<Self> {
        match method.full_name() {
            "google.longrunning.Operations.ListOperations" => Some(Self::List),
            "google.longrunning.Operations.GetOperation" => Some(Self::Get),
            "google.longrunning.Operations.DeleteOperation" => Some(Self::Delete),
            "google.longrunning.Operations.CancelOperation" => Some(Self::Cancel),
            "google.longrunning.Operations.WaitOperation" => Some(Self::Wait),
            "longshore.v1.Jobs.RunJob" => Some(Self::Run),
            "longshore.v1.Jobs.WatchOperation" => Some(Self::Watch),
            _ => None,
        }
    }

    /// Its full name, as gRPC's paths have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::List => "google.longrunning.Operations/ListOperations",
            Self::Get => "google.longrunning.Operations/GetOperation",
            Self::Wait => "google.longrunning.Operations/WaitOperation",
            Self::Delete => "google.longrunning.Operations/DeleteOperation",
            Self::Cancel => "google.longrunning.Operations/CancelOperation",
            Self::Run => "longshore.v1.Jobs/RunJob",
            Self::Watch => "longshore.v1.Jobs/WatchOperation",
        }
    }

    /// Calls the method just as gRPC does.
    pub(crate) async fn call(self, api: &Api, call: Call) -> Result<Answer, Status> {
        match self {
            Self::List => {
                let page = api.list_operations(call.request()?).await?;
                Ok(Answer::Whole(Whole::Page(page.into_inner())))
            }
            Self::Get => {
                let request = call.get_request()?;
                Ok(operation(api.get_operation(request).await?))
            }
            Self::Wait => Ok(operation(api.wait_operation(call.request()?).await?)),
            Self::Run => Ok(operation(api.run_job(call.request()?).await?)),
            Self::Delete => {
                api.delete_operation(call.request()?).await?;
                Ok(Answer::Whole(Whole::Empty))
            }
            Self::Cancel => {
                api.cancel_operation(call.request()?).await?;
                Ok(Answer::Whole(Whole::Empty))
            }
            Self::Watch => {
                let states = api.watch_operation(call.request()?).await?;
                Ok(Answer::States(states.into_inner()))
            }
        }
    }
}

impl Call {
    /// The commonest request of all has only a name.
    fn get_request(mut self) -> Result<Request<GetOperationRequest>, Refusal> {
        match self.fields.get_mut("name").map(Value::take) {
            Some(Value::String(name)) if self.fields.len() == 1 => {
                let message = GetOperationRequest { name };
                Ok(Request::from_parts(self.metadata, self.extensions, message))
            }
            name => {
                self.fields.extend(name.map(|name| ("name".to_owned(), name)));
                self.request()
            }
        }
    }

    fn request<M: Message + Name + Default>(self) -> Result<Request<M>, Refusal> {
        let message = match json::message_from_json(Value::Object(self.fields.clone())) {
            Ok(message) => message,
            Err(error) => return Err(explain::json(&self.method.input(), &self.fields, &error)),
        };
        Ok(Request::from_parts(self.metadata, self.extensions, message))
    }
}

fn operation(response: Response<Operation>) -> Answer {
    Answer::Whole(Whole::Operation(response.into_inner()))
}
