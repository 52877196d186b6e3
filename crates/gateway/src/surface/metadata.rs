//! How a surface shows what is known about the work.

use longshore_core::{
    json,
    record::Record,
    view::{self, pack},
};
use longshore_proto::{longrunning::Operation, v1::OperationMetadata};
use prost_types::Any;

use super::{Metadata, Surface};

impl Surface {
    /// The operation as clients of this surface see it.
    pub(crate) fn operation(&self, record: &Record) -> Operation {
        let operation = view::operation(record);
        match self.metadata {
            Metadata::Typed => operation,
            Metadata::Struct | Metadata::Details | Metadata::None => {
                Operation { metadata: self.metadata(record), ..operation }
            }
        }
    }

    /// The same for its metadata. From the first answer to the last it is of one type.
    pub(crate) fn metadata(&self, record: &Record) -> Option<Any> {
        match self.metadata {
            Metadata::Typed => Some(pack(&view::metadata(record))),
            Metadata::Struct => as_struct(view::metadata(record)),
            Metadata::Details => match (&record.progress.details, &self.metadata_type) {
                (Some(details), _) => Some(view::any(details)),
                // A message in which nothing is set yet.
                (None, Some(name)) => Some(Any { type_url: name.clone(), value: Vec::new() }),
                (None, None) => None,
            },
            Metadata::None => None,
        }
    }
}

/// What JSON clients see, as a `google.protobuf.Struct`.
fn as_struct(mut metadata: OperationMetadata) -> Option<Any> {
    fn convert(metadata: &OperationMetadata) -> Option<Any> {
        let object = json::message_to_json(metadata).ok()?;
        json::response_from_json(object).ok().map(|payload| view::any(&payload))
    }
    convert(&metadata).or_else(|| {
        // Only what jobs and workers wrote themselves can be nested too deep.
        metadata.details = None;
        metadata.last_error = None;
        convert(&metadata)
    })
}
