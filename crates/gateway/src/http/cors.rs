//! Which web pages may call the API from a browser, by HTTP/JSON or gRPC-Web.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// How long a browser remembers what it may do.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// What a page may read of an answer beside its body.
const EXPOSED: [HeaderName; 4] = [
    header::RETRY_AFTER,
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
];

/// Lets pages of these origins in, all if one is `*`. None if there are no origins, or one is none.
pub(crate) fn layer(origins: &[String]) -> Option<CorsLayer> {
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let origins: Option<Vec<HeaderValue>> =
            origins.iter().map(|origin| origin.parse().ok()).collect();
        AllowOrigin::list(origins.filter(|origins| !origins.is_empty())?)
    };
    let layer = CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(MAX_AGE);
    Some(layer)
}
