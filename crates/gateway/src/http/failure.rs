//! Errors as HTTP has them: the canonical code, and the status as Google's JSON.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};
use longshore_core::json;
use longshore_proto::rpc;
use prost::{Message, Name};
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::{answer, enums, routes::Miss, system::System};
use crate::errors::{Reason, Refusal};

/// Why a request is answered with an error.
#[derive(Debug)]
pub(crate) struct Failure {
    status: rpc::Status,
    code: StatusCode,
    /// The verbs that would do, if the request's doesn't.
    allow: Option<HeaderValue>,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let code = http_code(status.code());
        let status = match rpc::Status::decode(status.details()) {
            Ok(described) if !described.details.is_empty() => described,
            _ => {
                let explained =
                    Refusal::new(Reason::Internal, status.message()).into_status(status.code());
                // What was just encoded.
                rpc::Status::decode(explained.details()).unwrap_or_default()
            }
        };
        Self { status, code, allow: None }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Status::from(refusal).into()
    }
}

impl Failure {
    /// There is nothing under a path, or nothing with this verb.
    pub(crate) fn of_miss(miss: Miss, verb: &Method, path: &str) -> Self {
        match miss {
            Miss::Path => Refusal::new(Reason::UnknownPath, "nothing is served under this path")
                .with("path", path)
                .into(),
            Miss::Verb(verbs) => {
                let mut verbs: Vec<_> = verbs.iter().map(Method::as_str).collect();
                if verbs.contains(&"GET") {
                    verbs.push("HEAD");
                }
                let allow = verbs.join(", ");
                let message = format!("this path is served for {allow}");
                let refusal =
                    Refusal::new(Reason::WrongVerb, message).with("method", verb.as_str());
                let allow = HeaderValue::from_str(&allow).ok();
                Self { code: StatusCode::METHOD_NOT_ALLOWED, allow, ..refusal.into() }
            }
        }
    }

    /// The canonical code.
    pub(crate) fn code(&self) -> rpc::Code {
        rpc::Code::try_from(self.status.code).unwrap_or(rpc::Code::Unknown)
    }

    /// The answer to a client's question of what is allowed.
    pub(crate) fn into_options(self, system: &System) -> Response {
        match self.allow {
            Some(allow) => (StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response(),
            None => self.into_response(system),
        }
    }

    /// The whole answer.
    pub(crate) fn into_response(self, system: &System) -> Response {
        let retry = self.retry_after();
        let mut response = answer::json(&self.to_json(system), system);
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, allow);
        }
        if let Some(seconds) = retry {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }

    /// `{"error": …}`.
    pub(crate) fn to_json(&self, system: &System) -> Value {
        let code = self.code();
        let mut error = json!({"code": self.code.as_u16(), "message": self.status.message});
        if system.has_legacy_errors {
            let legacy = json!({"message": self.status.message, "domain": "global", "reason": legacy_reason(code)});
            error["errors"] = json!([legacy]);
        }
        error["status"] = code.as_str_name().into();
        let mut status = json::status_to_json(&self.status);
        if system.has_numeric_enums
            && let Some(descriptor) = json::pool().get_message_by_name(&rpc::Status::full_name())
        {
            enums::to_numbers(&mut status, &descriptor);
        }
        error["details"] = status["details"].take();
        json!({"error": error})
    }

    /// In seconds, rounded up.
    fn retry_after(&self) -> Option<u64> {
        let info = |detail: &prost_types::Any| detail.to_msg::<rpc::RetryInfo>().ok();
        let delay = self.status.details.iter().find_map(info)?.retry_delay?;
        let seconds = u64::try_from(delay.seconds).ok()?;
        Some(seconds + u64::from(delay.nanos > 0))
    }
}

/// Google's mapping, as `google/rpc/code.proto` has it.
pub(crate) fn http_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// The reason in the first error format.
fn legacy_reason(code: rpc::Code) -> &'static str {
    match code {
        rpc::Code::Ok | rpc::Code::Cancelled => "cancelled",
        rpc::Code::InvalidArgument => "badRequest",
        rpc::Code::FailedPrecondition => "failedPrecondition",
        rpc::Code::OutOfRange => "outOfRange",
        rpc::Code::Unauthenticated => "required",
        rpc::Code::PermissionDenied => "forbidden",
        rpc::Code::NotFound => "notFound",
        rpc::Code::AlreadyExists => "alreadyExists",
        rpc::Code::Aborted => "aborted",
        rpc::Code::ResourceExhausted => "rateLimitExceeded",
        rpc::Code::Unimplemented => "notImplemented",
        rpc::Code::Unknown
        | rpc::Code::Internal
        | rpc::Code::DataLoss
        | rpc::Code::Unavailable
        | rpc::Code::DeadlineExceeded => "backendError",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_have_what_clients_look_for() {
        let failure = Failure::from(Refusal::not_found(&"operations/x"));
        let expected = json!({"error": {
            "code": 404,
            "message": "there is no operation operations/x",
            "status": "NOT_FOUND",
            "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "OPERATION_NOT_FOUND",
                "domain": "longshore",
                "metadata": {"name": "operations/x"},
            }],
        }});
        assert_eq!(failure.to_json(&System::default()), expected);
        let legacy = failure.to_json(&System { has_legacy_errors: true, ..System::default() });
        let message = "there is no operation operations/x";
        assert_eq!(
            legacy["error"]["errors"],
            json!([{"message": message, "domain": "global", "reason": "notFound"}])
        );
        assert_eq!(legacy["error"]["details"], expected["error"]["details"]);
    }

    #[test]
    fn says_when_to_try_again() {
        let response = Failure::from(Refusal::unavailable()).into_response(&System::default());
        assert_eq!(response.status(), 503);
        // From one second to two, rounded up.
        assert_eq!(response.headers()["retry-after"], "2");
    }

    #[test]
    fn every_code_has_its_http_code() {
        for (code, expected) in [
            (Code::Cancelled, 499),
            (Code::Unknown, 500),
            (Code::InvalidArgument, 400),
            (Code::DeadlineExceeded, 504),
            (Code::NotFound, 404),
            (Code::AlreadyExists, 409),
            (Code::PermissionDenied, 403),
            (Code::ResourceExhausted, 429),
            (Code::FailedPrecondition, 400),
            (Code::Aborted, 409),
            (Code::OutOfRange, 400),
            (Code::Unimplemented, 501),
            (Code::Internal, 500),
            (Code::Unavailable, 503),
            (Code::DataLoss, 500),
            (Code::Unauthenticated, 401),
        ] {
            let failure = Failure::from(Status::new(code, "m"));
            let json = failure.to_json(&System::default());
            assert_eq!(json["error"]["code"], expected);
            assert_eq!(json["error"]["details"][0]["reason"], "INTERNAL");
        }
    }
}
