//! Why a call gave nothing.

use std::fmt;

use longshore_proto::rpc::{self, BadRequest, ErrorInfo, PreconditionFailure};
use prost::{Message, Name};
use tonic::{Code, Status};

use crate::exit::Exit;

/// Nothing answers at the server's address.
#[derive(Debug, thiserror::Error)]
#[error(
    "can't reach {server}: is a `longshore dev` or `longshore gateway` running there? (--server or LONGSHORE_SERVER says where)"
)]
pub(crate) struct Unreachable {
    /// The address.
    pub server: String,
    /// Why.
    #[source]
    pub source: tonic::transport::Error,
}

/// The server refused a call, or could not be asked.
#[derive(Clone, Debug)]
pub(crate) struct Refused(pub Box<Status>);

impl Refused {
    /// What the process says by its exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self.0.code() {
            Code::NotFound => Exit::NotFound,
            Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Exit::Conflict,
            Code::InvalidArgument | Code::OutOfRange => Exit::BadRequest,
            Code::Unauthenticated | Code::PermissionDenied => Exit::NotAllowed,
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => Exit::Unavailable,
            Code::ResourceExhausted => Exit::TryLater,
            Code::Ok | Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => {
                Exit::Internal
            }
        }
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self(Box::new(status))
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    /// The code and the message, then a line for each field that is wrong and for the reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = rpc::Code::try_from(self.0.code() as i32).unwrap_or(rpc::Code::Unknown);
        write!(f, "{}: {}", code.as_str_name(), self.0.message())?;
        let details = rpc::Status::decode(self.0.details()).unwrap_or_default().details;
        for violation in
            find::<BadRequest>(&details).into_iter().flat_map(|bad| bad.field_violations)
        {
            write!(f, "\n  {}: {}", violation.field, violation.description)?;
        }
        for violation in
            find::<PreconditionFailure>(&details).into_iter().flat_map(|failure| failure.violations)
        {
            write!(f, "\n  {}: {}", violation.subject, violation.description)?;
        }
        if let Some(info) = find::<ErrorInfo>(&details) {
            write!(f, "\n  reason: {} ({})", info.reason, info.domain)?;
            for (key, value) in &info.metadata {
                write!(f, "\n  {key}: {value}")?;
            }
        }
        Ok(())
    }
}

fn find<M: Message + Name + Default>(details: &[prost_types::Any]) -> Option<M> {
    let detail = details.iter().find(|detail| detail.type_url == M::type_url())?;
    M::decode(detail.value.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use longshore_proto::rpc::bad_request::FieldViolation;
    use prost_types::Any;

    use super::*;

    fn any<M: Message + Name>(message: &M) -> Any {
        Any { type_url: M::type_url(), value: message.encode_to_vec() }
    }

    #[test]
    fn says_which_field_and_which_reason() {
        let violation = FieldViolation {
            field: "job_type".into(),
            description: "must be a letter".into(),
            ..FieldViolation::default()
        };
        let info = ErrorInfo {
            reason: "INVALID_REQUEST".into(),
            domain: "longshore.dev".into(),
            metadata: [("limit".to_owned(), "3".to_owned())].into(),
        };
        let details = vec![any(&BadRequest { field_violations: vec![violation] }), any(&info)];
        let status = rpc::Status { code: 3, message: "bad".into(), details }.encode_to_vec();
        let refused =
            Refused::from(Status::with_details(Code::InvalidArgument, "bad", status.into()));
        assert_eq!(
            refused.to_string(),
            "INVALID_ARGUMENT: bad\n  job_type: must be a letter\n  reason: INVALID_REQUEST (longshore.dev)\n  limit: 3"
        );
        assert_eq!(refused.exit(), Exit::BadRequest);
    }

    #[test]
    fn details_that_are_none_are_left_out() {
        let refused =
            Refused::from(Status::with_details(Code::NotFound, "no", b"\xff\xff".to_vec().into()));
        assert_eq!(refused.to_string(), "NOT_FOUND: no");
    }
}
