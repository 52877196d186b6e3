//! A plain HTTP client.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use crate::harness::Gateway;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn read(response: Response<hyper::body::Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json; charset=UTF-8", "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The JSON of a success.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The reason of an error, whose body must be Google's.
    pub(crate) fn reason(&self) -> String {
        let error = &self.json()["error"];
        assert_eq!(error["code"], self.status.as_u16(), "{error}");
        assert!(error["message"].is_string() && error["status"].is_string(), "{error}");
        let info = &error["details"][0];
        assert_eq!(info["@type"], "type.googleapis.com/google.rpc.ErrorInfo", "{error}");
        assert_eq!(info["domain"], "longshore");
        info["reason"].as_str().unwrap().to_owned()
    }
}

/// A request to a gateway.
pub(crate) struct Call<'a> {
    gateway: &'a Gateway,
    request: Request<Full<Bytes>>,
    is_http2: bool,
}

impl<'a> Call<'a> {
    pub(crate) fn new(gateway: &'a Gateway, verb: Method, target: &str) -> Self {
        let url = format!("http://{}{target}", gateway.address);
        let request = Request::builder().method(verb).uri(url).body(Full::default()).unwrap();
        Self { gateway, request, is_http2: false }
    }

    pub(crate) fn get(gateway: &'a Gateway, target: &str) -> Self {
        Self::new(gateway, Method::GET, target)
    }

    pub(crate) fn post(gateway: &'a Gateway, target: &str) -> Self {
        Self::new(gateway, Method::POST, target)
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request.headers_mut().insert(name, value.parse().unwrap());
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = Full::new(body.into());
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub(crate) fn http2(mut self) -> Self {
        self.is_http2 = true;
        self
    }

    /// The head of the answer as soon as it has come.
    pub(crate) async fn open(self) -> Response<hyper::body::Incoming> {
        let mut builder = Client::builder(TokioExecutor::new());
        if self.is_http2 {
            builder.http2_only(true);
        }
        let client: Client<_, Full<Bytes>> = builder.build(HttpConnector::new());
        client
            .request(self.request)
            .await
            .unwrap_or_else(|error| panic!("{} {error:?}", self.gateway.address))
    }

    pub(crate) async fn send(self) -> Answer {
        Answer::read(self.open().await).await
    }
}
