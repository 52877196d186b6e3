//! Several calls in one request, as Google's discovery clients send them: `multipart/mixed` of
//! `application/http`. Each part is a call like any other.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body_util::BodyExt;

use super::{Http, failure::Failure, incoming, routes::Miss, system::System};
use crate::errors::{Reason, Refusal};

/// The largest batch, in bytes.
const MAX_BODY: usize = 8 << 20;
/// How many calls a batch has at most.
const MAX_PARTS: usize = 100;
/// How many of them are made at once.
const AT_ONCE: usize = 8;
/// How many headers a part, or the call in it, has at most.
const MAX_HEADERS: usize = 64;

/// The headers that say something of the batch and nothing of the calls in it.
const OF_THE_BATCH: [&str; 4] =
    ["content-type", "content-length", "transfer-encoding", "x-http-method-override"];

/// One call of a batch.
#[derive(Debug)]
struct Part {
    /// How the client tells the parts apart.
    id: Option<HeaderValue>,
    request: Request,
}

/// Makes all calls and answers them in their order, each as soon as it and those before it are.
pub(super) async fn answer(http: Arc<Http>, request: Request) -> Response {
    match parts(request).await {
        Ok(parts) => respond(http, parts),
        Err(failure) => failure.into_response(&System::default()),
    }
}

fn respond(http: Arc<Http>, parts: Vec<Part>) -> Response {
    let boundary = format!("batch_{:032x}", fastrand::u128(..));
    let kind = format!("multipart/mixed; boundary={boundary}");
    let end = Bytes::from(format!("--{boundary}--\r\n"));
    let calls = stream::iter(parts).map(move |part| {
        let http = Arc::clone(&http);
        async move {
            // A stream would hold up all others.
            let is_stream = part.request.uri().path().ends_with(":watch");
            let response = if is_stream {
                let refusal = Refusal::new(Reason::InvalidBatch, "a batch can't have streams");
                Failure::from(refusal).into_response(&System::default())
            } else {
                http.call(part.request).await
            };
            (part.id, response)
        }
    });
    let answers = calls.buffered(AT_ONCE).then(move |(id, response)| {
        let boundary = boundary.clone();
        async move { written(&boundary, id.as_ref(), response).await }
    });
    let body = answers.chain(stream::once(async move { Ok::<_, axum::Error>(end) }));
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(body)).into_response()
}

async fn parts(request: Request) -> Result<Vec<Part>, Failure> {
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST {
        return Err(Failure::of_miss(
            Miss::Verb(vec![Method::POST]),
            &parts.method,
            parts.uri.path(),
        ));
    }
    let boundary = boundary(&parts.headers)
        .ok_or_else(|| invalid("a batch must be multipart/mixed and name its boundary"))?;
    let body = incoming::read(body, MAX_BODY).await?;
    let bodies = split(&body, &boundary).ok_or_else(|| invalid("the batch has no end"))?;
    if bodies.len() > MAX_PARTS {
        return Err(invalid(format!("a batch has at most {MAX_PARTS} parts")).into());
    }
    let parts = bodies.into_iter().enumerate().map(|(at, part)| {
        read(&body.slice_ref(part), &parts.headers)
            .ok_or_else(|| invalid(format!("part {} of the batch is no HTTP request", at + 1)))
    });
    Ok(parts.collect::<Result<_, _>>()?)
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Reason::InvalidBatch, message)
}

/// The boundary that the content type names, with or without quotes.
fn boundary(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (kind, parameters) = kind.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    let boundary = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then(|| value.trim().trim_matches('"').to_owned())
    })?;
    (1..=70).contains(&boundary.len()).then_some(boundary)
}

/// What lies between the lines that are boundaries; `None` without a last one.
fn split<'a>(body: &'a [u8], boundary: &str) -> Option<Vec<&'a [u8]>> {
    let mut parts = Vec::new();
    let mut begin: Option<usize> = None;
    let mut at = 0;
    for line in body.split_inclusive(|b| *b == b'\n') {
        let is_boundary =
            line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary.as_bytes()));
        let behind = is_boundary.map(<[u8]>::trim_ascii_end);
        if let Some(behind @ (b"" | b"--")) = behind {
            if let Some(begin) = begin {
                // The line break before a boundary belongs to the boundary.
                let part = &body[begin..at];
                let part = part.strip_suffix(b"\n").unwrap_or(part);
                parts.push(part.strip_suffix(b"\r").unwrap_or(part));
            }
            if behind == b"--" {
                return Some(parts);
            }
            begin = Some(at + line.len());
        }
        at += line.len();
    }
    None
}

/// A part: its headers, and the HTTP request in it. What the batch's own headers say holds for the
/// call too, unless its headers say otherwise.
fn read(part: &Bytes, outer: &HeaderMap) -> Option<Part> {
    let mut space = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let httparse::Status::Complete((length, headers)) =
        httparse::parse_headers(part, &mut space).ok()?
    else {
        return None;
    };
    let id = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-id"));
    let id = id.and_then(|header| HeaderValue::from_bytes(header.value).ok());

    let inner = part.slice(length..);
    let mut space = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut space);
    // A call without a body may end right behind its headers.
    let closed = [&inner[..], b"\r\n\r\n"].concat();
    let httparse::Status::Complete(length) = head.parse(&closed).ok()? else {
        return None;
    };
    let mut request = Request::new(Body::from(inner.slice(length.min(inner.len())..)));
    *request.method_mut() = head.method?.parse().ok()?;
    *request.uri_mut() = head.path?.parse().ok()?;
    let headers = request.headers_mut();
    headers.clone_from(outer);
    for name in OF_THE_BATCH {
        headers.remove(name);
    }
    for header in head.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        headers.insert(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    Some(Part { id, request })
}

/// The answer to a part.
async fn written(
    boundary: &str,
    id: Option<&HeaderValue>,
    response: Response,
) -> Result<Bytes, axum::Error> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut text = format!("--{boundary}\r\nContent-Type: application/http\r\n").into_bytes();
    if let Some(id) = id {
        text.extend(b"Content-ID: ");
        text.extend(answering(id.as_bytes()));
        text.extend(b"\r\n");
    }
    // Clients insist on a phrase.
    let phrase = parts.status.canonical_reason().unwrap_or("Client Closed Request");
    text.extend(format!("\r\nHTTP/1.1 {} {phrase}\r\n", parts.status.as_u16()).as_bytes());
    for (name, value) in &parts.headers {
        text.extend(name.as_str().as_bytes());
        text.extend(b": ");
        text.extend(value.as_bytes());
        text.extend(b"\r\n");
    }
    text.extend(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    text.extend(&body);
    text.extend(b"\r\n");
    Ok(text.into())
}

/// `<ID>` becomes `<response-ID>`.
fn answering(id: &[u8]) -> Vec<u8> {
    match id.strip_prefix(b"<") {
        Some(id) => [b"<response-", id].concat(),
        None => [b"response-", id].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_found_in_either_form() {
        let of = |kind: &'static str| {
            boundary(&HeaderMap::from_iter([(
                header::CONTENT_TYPE,
                HeaderValue::from_static(kind),
            )]))
        };
        assert_eq!(of("multipart/mixed; boundary=\"===1==\"").as_deref(), Some("===1=="));
        assert_eq!(of("Multipart/Mixed;charset=x;Boundary=a").as_deref(), Some("a"));
        for none in [
            "multipart/mixed",
            "multipart/form-data; boundary=a",
            "multipart/mixed; boundary=",
            "x",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn parts_lie_between_boundaries() {
        let body = b"preface\r\n--b\r\none\r\n--b  \nt\nwo\n--bb\n\n--b--\r\nmore";
        assert_eq!(split(body, "b").unwrap(), [&b"one"[..], b"t\nwo\n--bb\n"]);
        assert_eq!(split(b"--b--", "b").unwrap().len(), 0);
        assert_eq!(split(b"--b\nx\n", "b"), None);
        assert_eq!(split(b"", "b"), None);
    }

    #[test]
    fn a_part_is_a_request() {
        let outer = HeaderMap::from_iter([
            (header::AUTHORIZATION, HeaderValue::from_static("Bearer a")),
            (header::CONTENT_TYPE, HeaderValue::from_static("multipart/mixed")),
        ]);
        for end in ["\n", "\r\n"] {
            let text = [
                "Content-Type: application/http",
                "Content-ID: <u + 1>",
                "",
                "POST /v1/x?a=1 HTTP/1.1",
                "Host: h",
                "content-type: application/json",
                "",
                "{}",
            ]
            .join(end);
            let part = read(&Bytes::from(text), &outer).unwrap();
            assert_eq!(part.id.unwrap(), "<u + 1>");
            assert_eq!(part.request.uri(), "/v1/x?a=1");
            assert_eq!(part.request.method(), Method::POST);
            assert_eq!(part.request.headers()["authorization"], "Bearer a");
            assert_eq!(part.request.headers()["content-type"], "application/json");
        }
        let bare = read(&Bytes::from_static(b"\nGET / HTTP/1.1"), &outer).unwrap();
        assert!(!bare.request.headers().contains_key("content-type"));
        for wrong in
            ["", "x", "a: b\n\n", "a: b\n\nGET", "a: b\n\nGET x y HTTP/1.1\n\n", "a: b\n\n\u{0}"]
        {
            assert!(read(&Bytes::from(wrong), &outer).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn answers_name_what_they_answer() {
        assert_eq!(answering(b"<u + 1>"), b"<response-u + 1>");
        assert_eq!(answering(b"1"), b"response-1");
    }
}
