//! The floor of the gateway: a server that answers every call with the same bytes, or, if it is
//! asked to wait, with nothing for ever.

use std::{
    convert::Infallible,
    fs,
    future::{Ready, pending, ready},
    path::Path,
    task::{Context, Poll},
};

use anyhow::Result;
use axum::{Router, http::header::CONTENT_TYPE, routing};
use bytes::{Buf, BufMut, Bytes};
use futures::future::BoxFuture;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::Service,
    server::{Grpc, UnaryService},
};

/// Serves on a free port, whose address it prints.
pub(super) async fn run(grpc: &Path, http: &Path) -> Result<()> {
    let service = Empty(fs::read(grpc)?.into());
    let json = Bytes::from(fs::read(http)?);
    let answer = move || {
        let json = json.clone();
        async move { ([(CONTENT_TYPE, "application/json")], json) }
    };
    let routes = Router::new()
        .route_service("/google.longrunning.Operations/{method}", service.clone())
        .route_service("/longshore.v1.Jobs/{method}", service)
        .route("/v1/{*name}", routing::get(answer));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("serves on http://{}", listener.local_addr()?);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(1000);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (builder, routes) = (builder.clone(), routes.clone());
        tokio::spawn(async move {
            let service = TowerToHyperService::new(routes);
            // A client that goes is no error.
            builder.serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

/// Answers every method with the same bytes, but `WaitOperation` never.
#[derive(Clone)]
struct Empty(Bytes);

impl Service<http::Request<axum::body::Body>> for Empty {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<axum::body::Body>) -> Self::Future {
        let method = Method(self.0.clone());
        Box::pin(async move {
            if request.uri().path().ends_with("WaitOperation") {
                pending::<()>().await;
            }
            Ok(Grpc::new(Raw).unary(method, request).await)
        })
    }
}

struct Method(Bytes);

impl UnaryService<Bytes> for Method {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(self.0.clone())))
    }
}

/// Messages as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
