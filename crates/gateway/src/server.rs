//! Puts the gateway together and runs it.

use std::{future::pending, panic::resume_unwind, sync::Arc, time::Duration};

use axum::middleware;
use longshore_proto::{
    DESCRIPTORS, longrunning::operations_server::OperationsServer, v1::jobs_server::JobsServer,
};
use longshore_state::ledger::Ledger;
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::{
    pb::health_server::{Health, HealthServer},
    server::HealthService,
};
use tonic_web::GrpcWebLayer;

use crate::{
    api::Api,
    calls, connections,
    front::Front,
    health,
    http::{self, Http},
    settings::{HttpSettings, Settings, SettingsError},
};

/// The largest request, in bytes: the largest input, and room for the rest.
const MAX_REQUEST: usize = 2 << 20;
/// The largest answer, in bytes. Pages are cut well before.
const MAX_ANSWER: usize = 8 << 20;
/// How long the last changes may take to be told to others.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why the gateway can't serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its settings can't be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The descriptors that it was built with are damaged.
    #[error("the API's descriptors can't be served")]
    Descriptors(#[from] tonic_reflection::server::Error),
    /// They have HTTP rules that can't be served.
    #[error("the API can't be served over HTTP/JSON")]
    Rules(#[from] http::RuleError),
}

/// Serves the API on a listener until the shutdown: then it reports that it is not serving, goes on
/// for the delay, asks clients to leave, ends waits and watches early, and gives calls in flight the
/// grace period.
///
/// # Errors
/// Only at the start.
///
/// # Panics
/// If what runs in its background does, which is a bug: whoever runs it starts it again.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    ledger: Arc<Ledger>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let (delay, grace) = (settings.shutdown_delay, settings.shutdown_grace);
    let closing = CancellationToken::new();
    let connections = settings.http.clone();
    let api = Arc::new(Api::new(settings, Arc::clone(&ledger), closing.clone())?);
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let seen_health = HealthService::from_health_reporter(reporter.clone());
    let http = Http::new(Arc::clone(&api), seen_health)?;
    let front = front(&api, Arc::new(http), health_service, &connections, closing.clone())?;

    let mut background = JoinSet::new();
    background.spawn({
        let api = Arc::clone(&api);
        async move { api.hear().await }
    });
    background.spawn({
        let closing = closing.clone();
        async move { health::run(reporter, &ledger, &shutdown, delay, closing).await }
    });

    tokio::select! {
        biased;
        () = connections::serve(listener, front, &connections, &closing, grace) => {}
        () = watch(&mut background) => {}
    }
    if timeout(LAST_WORDS, api.drain()).await.is_err() {
        tracing::warn!("others could not be told everything; timers will see to it");
    }
    background.shutdown().await;
    Ok(())
}

/// Passes on a panic of what runs in the background: a gateway that does not hear of changes any
/// more would go on half dead. Never completes.
async fn watch(background: &mut JoinSet<()>) {
    while let Some(ended) = background.join_next().await {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            resume_unwind(panic);
        }
    }
    pending::<()>().await;
}

fn front(
    api: &Arc<Api>,
    http: Arc<Http>,
    health: HealthServer<impl Health>,
    settings: &HttpSettings,
    closing: CancellationToken,
) -> Result<Front, Error> {
    use tonic_reflection::server::Builder;
    let described = || Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    let health_descriptors = tonic_health::pb::FILE_DESCRIPTOR_SET;
    let operations = OperationsServer::from_arc(Arc::clone(api))
        .max_decoding_message_size(MAX_REQUEST)
        .max_encoding_message_size(MAX_ANSWER);
    let jobs = JobsServer::from_arc(Arc::clone(api))
        .max_decoding_message_size(MAX_REQUEST)
        .max_encoding_message_size(MAX_ANSWER);
    let routes = Routes::new(operations.clone())
        .add_service(jobs.clone())
        .add_service(health)
        .add_service(
            described().register_encoded_file_descriptor_set(health_descriptors).build_v1()?,
        )
        .add_service(
            described().register_encoded_file_descriptor_set(health_descriptors).build_v1alpha()?,
        );
    let routes = routes
        .into_axum_router()
        .layer(middleware::from_fn_with_state(closing, calls::serve))
        .layer(GrpcWebLayer::new())
        .layer(middleware::from_fn_with_state(Arc::clone(&http), http::serve));
    Ok(match http::cors(&settings.cors_origins) {
        Some(cors) => Front::new(operations, jobs, None, routes.layer(cors)),
        None => Front::new(operations, jobs, Some(http), routes),
    })
}
