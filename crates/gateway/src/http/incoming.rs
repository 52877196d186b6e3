//! A request as it comes in: its verb, its query and its body, wherever the client put them.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody},
    extract::Request,
};
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, Method, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};
use tokio::time::timeout;
use tonic::metadata::MetadataMap;

use super::bind;
use crate::errors::{Reason, Refusal};

/// The largest body of a call, in bytes: the largest input, and room for the rest.
const MAX_BODY: usize = 2 << 20;
/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the form of a query in the body is called.
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// A request.
pub(crate) struct Incoming {
    parts: Parts,
    body: Body,
    verb: Method,
    is_overridden: bool,
}

impl Incoming {
    pub(crate) fn new(request: Request) -> Self {
        let (parts, body) = request.into_parts();
        let wanted =
            parts.headers.get("x-http-method-override").filter(|_| parts.method == Method::POST);
        let wanted =
            wanted.and_then(|verb| Method::from_bytes(&verb.as_bytes().to_ascii_uppercase()).ok());
        let is_overridden = wanted.is_some();
        let verb = match wanted.unwrap_or_else(|| parts.method.clone()) {
            // The same without a body, which is left out at the end.
            Method::HEAD => Method::GET,
            verb => verb,
        };
        Self { parts, body, verb, is_overridden }
    }

    /// What the client wants to do: what `X-HTTP-Method-Override` says, or the request's method.
    pub(crate) fn verb(&self) -> &Method {
        &self.verb
    }

    pub(crate) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The last event that a browser saw of a stream that it connects to again.
    pub(crate) fn last_event(&self) -> Option<&str> {
        self.parts.headers.get("last-event-id")?.to_str().ok()
    }

    /// The parameters. A client that overrides the method may have them in the body, because they
    /// are too long for a URL.
    pub(crate) async fn query(&mut self) -> Result<Vec<(String, String)>, Refusal> {
        let mut query = pairs(self.parts.uri.query().unwrap_or_default().as_bytes());
        if self.is_overridden && self.is_form() {
            let body = self.take_body().await?;
            query.extend(pairs(&body));
        }
        Ok(query)
    }

    /// What the body says: parameters or JSON.
    pub(crate) async fn fields(
        &mut self,
    ) -> Result<(Vec<(String, String)>, Map<String, Value>), Refusal> {
        let body = self.take_body().await?;
        // curl calls any data a form unless told otherwise.
        if self.is_form() && !body.trim_ascii_start().starts_with(b"{") {
            return Ok((pairs(&body), Map::new()));
        }
        Ok((Vec::new(), bind::body(&body)?))
    }

    /// What the method is to know beside its request, as gRPC would tell it.
    pub(crate) fn into_context(self) -> (MetadataMap, Extensions) {
        let mut headers = self.parts.headers;
        let deadline = headers
            .get("x-server-timeout")
            .and_then(|seconds| grpc_timeout(seconds.to_str().ok()?));
        if let Some(deadline) = deadline
            && !headers.contains_key("grpc-timeout")
        {
            headers.insert("grpc-timeout", deadline);
        }
        (MetadataMap::from_headers(headers), self.parts.extensions)
    }

    fn is_form(&self) -> bool {
        let kind = self.parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        kind.and_then(|kind| kind.get(..FORM.len()))
            .is_some_and(|kind| kind.eq_ignore_ascii_case(FORM))
    }

    async fn take_body(&mut self) -> Result<Bytes, Refusal> {
        read(std::mem::take(&mut self.body), MAX_BODY).await
    }
}

/// The whole body, if it is no larger than `limit` bytes.
pub(crate) async fn read(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let too_large = || {
        let message = format!("Request payload size exceeds the limit: {limit} bytes.");
        Refusal::new(Reason::PayloadTooLarge, message)
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let read = timeout(PATIENCE, Limited::new(body, limit).collect()).await;
    let read =
        read.map_err(|_| Refusal::new(Reason::PayloadTooLarge, "the body did not come in time"))?;
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Refusal::new(Reason::InvalidPayload, "the body can't be read to its end")),
    }
}

fn pairs(query: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(query).into_owned().collect()
}

/// Seconds, with a fraction if need be, in gRPC's form.
fn grpc_timeout(seconds: &str) -> Option<HeaderValue> {
    let seconds: f64 = seconds.trim().parse().ok()?;
    let timeout = Duration::try_from_secs_f64(seconds).ok()?;
    let millis = timeout.as_millis().min(99_999_999);
    HeaderValue::from_str(&format!("{millis}m")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(headers: &[(&'static str, &'static str)]) -> Incoming {
        let mut request = Request::post("/v1/operations?a=1").body(Body::from("b=2&c")).unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        Incoming::new(request)
    }

    #[tokio::test]
    async fn a_query_may_be_in_the_body_of_an_overridden_post() {
        let text = |query: Vec<(String, String)>| {
            query
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
                .join("&")
        };
        let kind = ("content-type", "application/x-www-form-urlencoded;charset=utf-8");
        let mut long = incoming(&[("x-http-method-override", "get"), kind]);
        assert_eq!(*long.verb(), Method::GET);
        assert_eq!(text(long.query().await.unwrap()), "a=1&b=2&c=");
        let mut plain = incoming(&[kind]);
        assert_eq!(*plain.verb(), Method::POST);
        assert_eq!(text(plain.query().await.unwrap()), "a=1");
        assert_eq!(text(plain.fields().await.unwrap().0), "b=2&c=");
    }

    #[test]
    fn a_deadline_reaches_the_method() {
        for (seconds, expected) in [
            ("1.5", Some("1500m")),
            ("30", Some("30000m")),
            ("1e9", Some("99999999m")),
            ("-1", None),
            ("x", None),
            ("NaN", None),
        ] {
            let (metadata, _) = incoming(&[("x-server-timeout", seconds)]).into_context();
            assert_eq!(metadata.get("grpc-timeout").map(|value| value.to_str().unwrap()), expected);
        }
    }
}
