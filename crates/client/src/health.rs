//! Whether one server serves, as it says itself through the standard health check of gRPC.
//!
//! Never: asks another server instead, or tries again. The question is about this one, now.

use std::time::Duration;

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::client::ConnectError;
use crate::connection::endpoint;
use crate::error::{ConnectionError, describe_transport};

/// Asks the server at `HOST:PORT` whether it serves, and waits for `patience` at most.
///
/// # Errors
/// [`HealthError`]: every way of not serving.
///
/// ```no_run
/// # async fn example() -> Result<(), highwater_client::HealthError> {
/// highwater_client::check_health("127.0.0.1:7400", std::time::Duration::from_secs(3)).await
/// # }
/// ```
pub async fn check_health(server: &str, patience: Duration) -> Result<(), HealthError> {
    let silent = || HealthError::Silent { server: server.to_owned(), waited: patience };
    let asked = async {
        let channel = endpoint(server, patience)?
            .connect()
            .await
            .map_err(|error| ConnectError::Unreachable(ConnectionError::new(server, &describe_transport(&error))))?;
        // The empty name is the server as a whole.
        let answer = HealthClient::new(channel).check(HealthCheckRequest { service: String::new() }).await;
        let is_serving = answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving);
        if is_serving { Ok(()) } else { Err(HealthError::NotServing { server: server.to_owned() }) }
    };
    tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| Err(silent()))
}

/// Why a server does not count as serving.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HealthError {
    /// It cannot be reached, or its address is none.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It took the connection and did not answer: it starts, or it hangs.
    #[error("server {server} does not answer within {waited:?}; it is starting, or it hangs")]
    Silent {
        /// Its address.
        server: String,
        /// How long was waited.
        waited: Duration,
    },
    /// It answered that it does not serve.
    #[error("server {server} does not serve: it is starting or stopping")]
    NotServing {
        /// Its address.
        server: String,
    },
}
