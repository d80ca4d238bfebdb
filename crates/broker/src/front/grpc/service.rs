//! The services of the front behind one router of paths: ours, health, and reflection.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use highwater_proto::v1::admin_service_server::AdminServiceServer;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_reflection::server::Builder as Reflection;

use super::admin::Admin;
use super::context::Context;
use super::groups::Groups;
use super::produce::Produce;
use super::queues::Queues;
use super::read::Read;
use super::wire;

/// The names of what is served, as health knows them; "" is the node as a whole.
const SERVICES: [&str; 6] = ["", Produce::NAME, Read::NAME, Groups::NAME, Queues::NAME, "highwater.v1.AdminService"];

/// The descriptors of the API cannot be served: a bug, as they are compiled in.
#[derive(Debug, thiserror::Error)]
#[error("the compiled descriptors of the API cannot be read: {0}")]
pub struct ReflectionError(#[from] tonic_reflection::server::Error);

/// Says whether the node serves.
#[derive(Clone, Debug)]
pub(crate) struct Health(HealthReporter);

impl Health {
    /// Tells clients and load balancers from now on.
    pub(crate) async fn set_serving(&self, is_serving: bool) {
        let status = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES {
            self.0.set_service_status(service, status).await;
        }
    }

    /// Tells whoever watches that the node stops, and ends their streams: a stopping server waits for streams.
    pub(crate) async fn end(mut self) {
        self.set_serving(false).await;
        for service in SERVICES {
            self.0.clear_service_status(service).await;
        }
    }
}

/// Everything that is served, and the switch of its health, which stands at "not serving".
pub(crate) async fn routes(context: Context) -> Result<(Routes, Health), ReflectionError> {
    let context = Arc::new(context);
    let health = Health(HealthReporter::new());
    health.set_serving(false).await;
    let limit = context.control_messages.bytes_max;
    let reflection = || {
        Reflection::configure()
            .register_encoded_file_descriptor_set(highwater_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let health_service = HealthService::from_health_reporter(health.0.clone());
    let routes = Routes::new(Produce::new(Arc::clone(&context)))
        .add_service(Read::new(Arc::clone(&context)))
        .add_service(Groups::new(Arc::clone(&context)))
        .add_service(Queues::new(Arc::clone(&context)))
        .add_service(AdminServiceServer::new(Admin::new(context)).max_decoding_message_size(limit))
        .add_service(HealthServer::new(health_service).max_decoding_message_size(limit))
        .add_service(reflection().build_v1()?.max_decoding_message_size(limit))
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(limit));
    Ok((routes.prepare(), health))
}

/// Makes a service of a type that answers calls by itself (see `wire` for why some do).
macro_rules! answers_by_itself {
    ($Type:ty, $name:literal) => {
        impl NamedService for $Type {
            const NAME: &'static str = $name;
        }

        impl Service<http::Request<Body>> for $Type {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = BoxFuture<Self::Response, Infallible>;

            fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<Body>) -> Self::Future {
                if let Some(refusal) = wire::not_a_call(&request) {
                    return Box::pin(std::future::ready(Ok(refusal)));
                }
                let answer = self.clone().call(request);
                Box::pin(async move { Ok(answer.await) })
            }
        }
    };
}

answers_by_itself!(Produce, "highwater.v1.ProduceService");
answers_by_itself!(Read, "highwater.v1.ReadService");
answers_by_itself!(Groups, "highwater.v1.GroupService");
answers_by_itself!(Queues, "highwater.v1.QueueService");
