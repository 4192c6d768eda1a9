//! The mapper's `/metrics`.

use std::net::SocketAddr;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::push::Counts;
use crate::session::MapperError;

const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Shows the counts until `stop` is cancelled.
pub(crate) async fn serve(
    at: SocketAddr,
    counts: Counts,
    stop: CancellationToken,
) -> Result<(), MapperError> {
    let failed = |cause| MapperError::Metrics { at, cause };
    let listener = TcpListener::bind(at).await.map_err(failed)?;
    let page = move || async move { ([(CONTENT_TYPE, KIND)], counts.page()) };
    let router = Router::new().route("/metrics", get(page));
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await.map_err(failed)
}
