//! What clients are told when a call fails (AIP-193): one table of reasons, and how errors of the
//! layers below come to them. No message has an address or another inside of the installation.

use std::{collections::BTreeMap, time::Duration};

use longshore_core::{lifecycle::Rejection, telemetry, view::pack};
use longshore_proto::rpc::{self, bad_request::FieldViolation};
use longshore_state::{ledger, store};
use prost::Message;
use tonic::{Code, Status};

/// The domain of every `google.rpc.ErrorInfo` that Longshore sends.
pub const DOMAIN: &str = "longshore";

/// How many violations an answer names: they travel in a header, and clients allow 8 KiB of it.
const MAX_VIOLATIONS: usize = 16;
/// How many characters of a client's own text an answer repeats.
const MAX_ECHO: usize = 100;
/// How many characters a description has; some repeat what the client sent.
const MAX_DESCRIPTION: usize = 250;

/// Why a call failed: the `reason` of its `google.rpc.ErrorInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A resource name is none.
    InvalidName,
    /// Other fields of the request are not what they should be.
    InvalidRequest,
    /// A filter is none, or names what operations don't have.
    InvalidFilter,
    /// A page token is none of this list's.
    InvalidPageToken,
    /// There is no such operation.
    OperationNotFound,
    /// Another request has used the same request id.
    RequestIdReused,
    /// A list of one parent can't succeed in part.
    PartialSuccessUnsupported,
    /// Others change the operation again and again.
    OperationContended,
    /// The store can't be used at the moment.
    StoreUnavailable,
    /// The store has no room.
    StoreFull,
    /// The operation's record can't be read.
    RecordDamaged,
    /// The gateway is about to stop.
    ShuttingDown,
    /// The time that the client gave the call is over.
    OutOfTime,
    /// The call does not follow gRPC, or names a method that there is not.
    MalformedCall,
    /// No surface has such names under this host and version.
    SurfaceNotFound,
    /// The surface does not have the method.
    MethodNotOffered,
    /// Nothing is served under an HTTP path.
    UnknownPath,
    /// An HTTP path is served, but for other verbs.
    WrongVerb,
    /// A query parameter or a field of a JSON body is none of the request's.
    UnknownField,
    /// A body is no JSON object.
    InvalidPayload,
    /// A body is too large, or comes too slowly.
    PayloadTooLarge,
    /// A system parameter asks for what is not served.
    UnsupportedParameter,
    /// The mask of a partial answer is none, or names what the answer does not have.
    InvalidFieldMask,
    /// A batch is none, or has too many parts.
    InvalidBatch,
    /// A mistake of Longshore's.
    Internal,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::InvalidName,
        Self::InvalidRequest,
        Self::InvalidFilter,
        Self::InvalidPageToken,
        Self::OperationNotFound,
        Self::RequestIdReused,
        Self::PartialSuccessUnsupported,
        Self::OperationContended,
        Self::StoreUnavailable,
        Self::StoreFull,
        Self::RecordDamaged,
        Self::ShuttingDown,
        Self::OutOfTime,
        Self::MalformedCall,
        Self::SurfaceNotFound,
        Self::MethodNotOffered,
        Self::UnknownPath,
        Self::WrongVerb,
        Self::UnknownField,
        Self::InvalidPayload,
        Self::PayloadTooLarge,
        Self::UnsupportedParameter,
        Self::InvalidFieldMask,
        Self::InvalidBatch,
        Self::Internal,
    ];

    /// The table: code, reason, and after how long a client may try again.
    fn row(self) -> (Code, &'static str, Option<Duration>) {
        const SOON: Option<Duration> = Some(Duration::from_millis(100));
        const LATER: Option<Duration> = Some(Duration::from_secs(1));
        match self {
            Self::InvalidName => (Code::InvalidArgument, "INVALID_NAME", None),
            Self::InvalidRequest => (Code::InvalidArgument, "INVALID_REQUEST", None),
            Self::InvalidFilter => (Code::InvalidArgument, "INVALID_FILTER", None),
            Self::InvalidPageToken => (Code::InvalidArgument, "INVALID_PAGE_TOKEN", None),
            Self::OperationNotFound => (Code::NotFound, "OPERATION_NOT_FOUND", None),
            Self::RequestIdReused => (Code::AlreadyExists, "REQUEST_ID_REUSED", None),
            Self::PartialSuccessUnsupported => {
                (Code::Unimplemented, "PARTIAL_SUCCESS_UNSUPPORTED", None)
            }
            Self::OperationContended => (Code::Aborted, "OPERATION_CONTENDED", SOON),
            Self::StoreUnavailable => (Code::Unavailable, "STORE_UNAVAILABLE", LATER),
            Self::StoreFull => (Code::ResourceExhausted, "STORE_FULL", None),
            Self::RecordDamaged => (Code::DataLoss, "RECORD_DAMAGED", None),
            Self::ShuttingDown => (Code::Unavailable, "SHUTTING_DOWN", SOON),
            Self::OutOfTime => (Code::DeadlineExceeded, "OUT_OF_TIME", None),
            Self::MalformedCall => (Code::InvalidArgument, "MALFORMED_CALL", None),
            Self::SurfaceNotFound => (Code::NotFound, "SURFACE_NOT_FOUND", None),
            Self::MethodNotOffered => (Code::Unimplemented, "METHOD_NOT_OFFERED", None),
            Self::UnknownPath => (Code::NotFound, "UNKNOWN_PATH", None),
            Self::WrongVerb => (Code::Unimplemented, "WRONG_VERB", None),
            Self::UnknownField => (Code::InvalidArgument, "UNKNOWN_FIELD", None),
            Self::InvalidPayload => (Code::InvalidArgument, "INVALID_PAYLOAD", None),
            Self::PayloadTooLarge => (Code::InvalidArgument, "PAYLOAD_TOO_LARGE", None),
            Self::UnsupportedParameter => (Code::InvalidArgument, "UNSUPPORTED_PARAMETER", None),
            Self::InvalidFieldMask => (Code::InvalidArgument, "INVALID_FIELD_MASK", None),
            Self::InvalidBatch => (Code::InvalidArgument, "INVALID_BATCH", None),
            Self::Internal => (Code::Internal, "INTERNAL", None),
        }
    }

    /// The reason as `google.rpc.ErrorInfo` has it.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The gRPC code that it comes with.
    pub fn code(self) -> Code {
        self.row().0
    }
}

/// A call's failure, before it is a [`Status`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    message: String,
    metadata: BTreeMap<String, String>,
    violations: Vec<FieldViolation>,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), metadata: BTreeMap::new(), violations: Vec::new() }
    }

    /// Adds what varies in the message, for programs.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.metadata.insert(key.to_owned(), echo(value));
        self
    }

    /// One field is not what it should be.
    pub(crate) fn field(reason: Reason, field: &str, description: impl Into<String>) -> Self {
        Self::fields(reason, vec![violation(field, description)])
    }

    /// Fields are not what they should be; `violations` has at least one.
    pub(crate) fn fields(reason: Reason, mut violations: Vec<FieldViolation>) -> Self {
        let message = match &*violations {
            [only] => format!("{}: {}", only.field, only.description),
            _ => format!("{} fields of the request are not what they should be", violations.len()),
        };
        violations.truncate(MAX_VIOLATIONS);
        Self { violations, ..Self::new(reason, message) }
    }

    /// Adds which fields are not what they should be, to a message of its own.
    pub(crate) fn with_violations(mut self, mut violations: Vec<FieldViolation>) -> Self {
        violations.truncate(MAX_VIOLATIONS);
        self.violations = violations;
        self
    }

    pub(crate) fn not_found(name: &impl ToString) -> Self {
        let name = name.to_string();
        Self::new(Reason::OperationNotFound, format!("there is no operation {}", echo(&name)))
            .with("name", &name)
    }

    pub(crate) fn unavailable() -> Self {
        Self::new(Reason::StoreUnavailable, "the store can't be used at the moment")
    }

    pub(crate) fn shutting_down() -> Self {
        Self::new(Reason::ShuttingDown, "the server is about to stop")
    }

    pub(crate) fn out_of_time() -> Self {
        Self::new(Reason::OutOfTime, "the time that the client gave the call is over")
    }

    /// The status under another code than the table's.
    pub(crate) fn into_status(self, code: Code) -> Status {
        let (_, reason, delay) = self.reason.row();
        let mut details = vec![pack(&rpc::ErrorInfo {
            reason: reason.to_owned(),
            domain: DOMAIN.to_owned(),
            metadata: self.metadata,
        })];
        if !self.violations.is_empty() {
            details.push(pack(&rpc::BadRequest { field_violations: self.violations }));
        }
        if let Some(delay) = delay {
            // Those whom an outage has hit together are not to come back together.
            let delay = delay.mul_f64(1.0 + fastrand::f64());
            let retry_delay = prost_types::Duration::try_from(delay).ok();
            details.push(pack(&rpc::RetryInfo { retry_delay }));
        }
        let status = rpc::Status { code: code.into(), message: self.message, details };
        let bytes = status.encode_to_vec();
        Status::with_details(code, status.message, bytes.into())
    }

    /// Whether trying again soon may help.
    pub(crate) fn is_transient(&self) -> bool {
        self.reason.code() == Code::Unavailable
    }
}

/// A violation of one field.
pub(crate) fn violation(field: &str, description: impl Into<String>) -> FieldViolation {
    let description = description.into().chars().take(MAX_DESCRIPTION).collect();
    FieldViolation { field: echo(field), description, ..FieldViolation::default() }
}

/// A client's own text, cut to a length that fits a header.
pub(crate) fn echo(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_ECHO).collect()
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = refusal.reason.code();
        refusal.into_status(code)
    }
}

impl From<store::Error> for Refusal {
    /// Here errors of the store stop, so here they are logged.
    fn from(error: store::Error) -> Self {
        let trace_id = telemetry::trace_id();
        let source = &error as &dyn std::error::Error;
        tracing::warn!(trace_id, error = source, "the store failed a call");
        match error {
            store::Error::Unavailable { .. } | store::Error::Misconfigured(_) => {
                Self::unavailable()
            }
            store::Error::Full { .. } => {
                Self::new(Reason::StoreFull, "the store has no room for more")
            }
            store::Error::Damaged { id, .. } => {
                Self::new(Reason::RecordDamaged, "the operation's record can't be read")
                    .with("id", id.as_str())
            }
        }
    }
}

impl From<ledger::Error> for Refusal {
    fn from(error: ledger::Error) -> Self {
        match error {
            ledger::Error::Store(error) => error.into(),
            ledger::Error::Contended(id) => Self::new(
                Reason::OperationContended,
                "others change the operation at the same time",
            )
            .with("id", id.as_str()),
            ledger::Error::Rejected(rejection) => rejected(rejection),
        }
    }
}

fn rejected(rejection: Rejection) -> Refusal {
    let reason = match rejection {
        Rejection::NotFound => Reason::OperationNotFound,
        Rejection::AlreadyExists => Reason::RequestIdReused,
        // What clients do is never rejected so.
        Rejection::Stale
        | Rejection::NotNow
        | Rejection::Paused
        | Rejection::NotInQueue
        | Rejection::Claimed
        | Rejection::Done => Reason::Internal,
    };
    Refusal::new(reason, rejection.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(status: &Status) -> rpc::Status {
        rpc::Status::decode(status.details()).unwrap()
    }

    #[test]
    fn every_status_has_an_error_info() {
        let status = Status::from(Refusal::not_found(&"operations/x"));
        assert_eq!(status.code(), Code::NotFound);
        let sent = decoded(&status);
        assert_eq!((sent.code, sent.message.as_str()), (5, status.message()));
        let info: rpc::ErrorInfo = sent.details[0].to_msg().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("OPERATION_NOT_FOUND", "longshore")
        );
        assert_eq!(info.metadata["name"], "operations/x");
    }

    #[test]
    fn the_documentation_has_the_table() {
        let text = include_str!("../../../docs/errors.md");
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let rows: Vec<Vec<&str>> =
            rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect();
        assert_eq!(rows.len(), Reason::ALL.len());
        for (row, reason) in rows.iter().zip(Reason::ALL) {
            let code = rpc::Code::try_from(i32::from(reason.code())).unwrap().as_str_name();
            let http = match reason {
                // The only one whose status is not that of its code.
                Reason::WrongVerb => 405,
                _ => crate::http::http_code(reason.code()).as_u16(),
            };
            let expected =
                [format!("`{}`", reason.as_str()), format!("`{code}`"), http.to_string()];
            assert_eq!(row[..3], expected);
            assert!(row.len() == 5 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        }
    }

    #[test]
    fn the_table_has_every_reason_once() {
        // A reason that is added before the last one moves it.
        let last = Reason::Internal as usize;
        assert_eq!(Reason::ALL.len(), last + 1);
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            let text = reason.as_str();
            let is_word = |b: u8| b.is_ascii_uppercase() || b == b'_';
            assert!(text.len() <= 63 && text.bytes().all(is_word), "{text}");
        }
    }

    #[test]
    fn an_outage_says_when_to_try_again() {
        let sent = decoded(&Refusal::unavailable().into());
        let retry: rpc::RetryInfo = sent.details[1].to_msg().unwrap();
        assert_eq!(retry.retry_delay.unwrap().seconds, 1);
    }

    #[test]
    fn details_fit_a_header() {
        let violations = (0..500).map(|_| violation(&"x".repeat(4000), "y".repeat(4000))).collect();
        let status = Status::from(Refusal::fields(Reason::InvalidRequest, violations));
        // In base64 it is a third more, and the message comes beside it.
        assert!(status.details().len() < 6000, "{}", status.details().len());
    }
}
