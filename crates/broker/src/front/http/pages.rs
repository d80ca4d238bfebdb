//! The pages and their answers.
//!
//! Owns: the paths, the status codes and the texts, which are for people.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use tokio::sync::OwnedSemaphorePermit;
use tonic::codegen::Service as _;

use super::board::{Board, Stage};
use super::encode;
use crate::runtime;

const PATHS: &str = "GET /metrics, /healthz or /readyz; clients use the gRPC port";

/// The pages, by their paths.
pub(super) fn router(board: Arc<Board>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .method_not_allowed_fallback(no_such_method)
        .fallback(no_such_page)
        .with_state(board)
}

/// Answers a request, unless it brings something.
pub(super) async fn answer(mut router: Router, request: Request<Incoming>) -> Response {
    if !request.body().is_end_stream() {
        let text = format!("this port takes no request with a body: {PATHS}\n");
        return (StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
    }
    match router.call(request.map(axum::body::Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// A page of metrics, and its place among those that may be on their way.
struct Page {
    text: String,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

async fn metrics(State(board): State<Arc<Board>>, headers: HeaderMap) -> Response {
    let Some(place) = board.place().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the node is stopping\n").into_response();
    };
    let families = board.gather().await;
    match runtime::blocking(move || encode::text(families)).await {
        Ok(Ok(text)) => {
            let page = Bytes::from_owner(Page { text, _place: place });
            let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok()).unwrap_or_default();
            ([(header::CONTENT_TYPE, encode::content_type(accepted))], page).into_response()
        }
        // Neither a text in memory refuses to be written, nor does a runtime stop that still serves.
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
    }
}

async fn healthz() -> &'static str {
    "alive\n"
}

async fn readyz(State(board): State<Arc<Board>>) -> (StatusCode, &'static str) {
    match board.stage() {
        Stage::Serving => (StatusCode::OK, "ready\n"),
        Stage::Starting => {
            let text = "not ready: the node starts, or waits until most nodes of its cluster are there\n";
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
        Stage::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "not ready: the node is stopping\n"),
    }
}

async fn no_such_method() -> (StatusCode, String) {
    (StatusCode::METHOD_NOT_ALLOWED, format!("this port only answers {PATHS}\n"))
}

async fn no_such_page(uri: Uri) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("there is no {}: {PATHS}\n", uri.path()))
}
