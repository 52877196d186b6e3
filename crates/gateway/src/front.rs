//! Hands each request to what serves it. The two ways that nearly all of them go are short: gRPC to
//! our services, and HTTP/JSON. The others go through the router and its layers, which give the
//! same answers: gRPC-Web, browsers from elsewhere, health and reflection.

use std::{convert::Infallible, pin::Pin, sync::Arc};

use axum::{Router, body::Body};
use futures::{FutureExt, TryFutureExt};
use http::{Request, Response, Version, header};
use http_body_util::Either;
use hyper::{body::Incoming, service::Service};
use longshore_proto::{
    longrunning::operations_server::OperationsServer, v1::jobs_server::JobsServer,
};
use tower_service::Service as _;

use crate::{
    api::Api,
    calls::Call,
    http::{self as json, Http},
    surface::note_host,
};

/// All that is served, as one service.
#[derive(Clone)]
pub(crate) struct Front(Arc<Parts>);

struct Parts {
    operations: OperationsServer<Api>,
    jobs: JobsServer<Api>,
    /// None where browsers may come from elsewhere: their answers need more headers.
    json: Option<Arc<Http>>,
    all: Router,
}

/// Which way a request goes.
enum Way {
    Operations,
    Jobs,
    Json(Arc<Http>),
    Router,
}

type Answer = Response<Either<tonic::body::Body, Body>>;

impl Front {
    /// `all` serves whatever the other ways do not.
    pub(crate) fn new(
        operations: OperationsServer<Api>,
        jobs: JobsServer<Api>,
        json: Option<Arc<Http>>,
        all: Router,
    ) -> Self {
        Self(Arc::new(Parts { operations, jobs, json, all }))
    }
}

impl Parts {
    fn way(&self, request: &Request<Incoming>) -> Way {
        if !json::is_grpc(request.headers()) {
            return self.json.clone().map_or(Way::Router, Way::Json);
        }
        if !is_plain_grpc(request) {
            return Way::Router;
        }
        match request.uri().path().rsplit_once('/') {
            Some(("/google.longrunning.Operations", _)) => Way::Operations,
            Some(("/longshore.v1.Jobs", _)) => Way::Jobs,
            _ => Way::Router,
        }
    }
}

/// gRPC as it is, not from a browser.
fn is_plain_grpc(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    request.version() == Version::HTTP_2
        && matches!(kind, b"application/grpc" | b"application/grpc+proto")
        && !headers.contains_key(header::ORIGIN)
}

impl Service<Request<Incoming>> for Front {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    /// Each way has a future of its own, no larger than it needs: many calls wait for long.
    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        match self.0.way(&request) {
            Way::Operations => {
                note_host(&mut request);
                let (call, mut operations) = (Call::of(&request), self.0.operations.clone());
                let answer = call.observe(operations.call(request));
                Box::pin(answer.map_ok(|answer| answer.map(Either::Left)))
            }
            Way::Jobs => {
                note_host(&mut request);
                let (call, mut jobs) = (Call::of(&request), self.0.jobs.clone());
                let answer = call.observe(jobs.call(request));
                Box::pin(answer.map_ok(|answer| answer.map(Either::Left)))
            }
            Way::Json(http) => {
                note_host(&mut request);
                let answer = http.answer(request.map(Body::new));
                Box::pin(answer.map(|answer| Ok(answer.map(Either::Right))))
            }
            Way::Router => {
                let answer = self.0.all.clone().call(request);
                Box::pin(answer.map_ok(|answer| answer.map(Either::Right)))
            }
        }
    }
}
