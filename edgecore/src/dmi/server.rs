//! The socket where mappers register and report.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use dmi::v1beta1 as wire;
use dmi::v1beta1::device_manager_service_server::{DeviceManagerService, DeviceManagerServiceServer};
use tokio::net::UnixListener;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};
use tower::util::MapResponseLayer;
use tracing::info;

use super::caller::Caller;
use super::catalog::Source;
use super::plan::Told;
use super::registry::{Mapper, Registry};
use super::report;
use crate::devicetwin::engine::{self, DeviceId, Verb};
use crate::devicetwin::{self, Verdict};
use crate::metrics::Metrics;

/// Requests of one connection that are worked on at a time; those after them wait.
const AT_ONCE: usize = 256;
/// The longest request; the twins of a device fit many times.
const LONGEST: usize = 1 << 20;

/// Why mappers are not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error("no mapper can register: {} cannot be made: {cause}", path.display())]
    Bind { path: PathBuf, cause: io::Error },
    #[error("no mapper can register: {} is there and is no socket; move it away", .0.display())]
    Taken(PathBuf),
    #[error("the reflection of the services cannot be built: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("the socket for mappers broke: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// Answers mappers.
#[derive(Clone)]
pub(super) struct Manager {
    pub registry: Arc<Registry>,
    pub catalog: Source,
    pub twins: devicetwin::Handle,
    pub metrics: Metrics,
}

/// Serves until cancelled. The socket's file is gone afterwards.
pub(super) async fn serve(
    path: PathBuf,
    manager: Manager,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let listener = bind(&path)?;
    info!(socket = %path.display(), "mappers are served");
    let refused_unread = {
        let metrics = manager.metrics.clone();
        MapResponseLayer::new(move |response| count_unread(&metrics, response))
    };
    let callers = UnixListenerStream::new(listener).map(|caller| caller.map(Caller::new));
    let service = DeviceManagerServiceServer::new(manager).max_decoding_message_size(LONGEST);
    let builder = || {
        tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(dmi::DESCRIPTORS)
    };
    // Go's clients of today ask for v1, those of yesterday for v1alpha.
    let (reflection, old_reflection) = (builder().build_v1()?, builder().build_v1alpha()?);
    Server::builder()
        .layer(refused_unread)
        .concurrency_limit_per_connection(AT_ONCE)
        .add_service(service)
        .add_service(reflection)
        .add_service(old_reflection)
        .serve_with_incoming_shutdown(callers, stop.cancelled_owned())
        .await?;
    let _ = fs::remove_file(path);
    Ok(())
}

/// A message that is longer than may be never reaches [`Manager`]: tonic refuses it in its place.
fn count_unread<B>(metrics: &Metrics, response: http::Response<B>) -> http::Response<B> {
    let code = response.headers().get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()));
    if code == Some(Code::OutOfRange) {
        metrics.mapper_refused("oversized");
    }
    response
}

/// A socket for root and its group. One that an earlier run left is replaced.
fn bind(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |cause| ServeError::Bind { path: path.to_owned(), cause };
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(failed)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(failed)?,
        Ok(_) => return Err(ServeError::Taken(path.to_owned())),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}

#[tonic::async_trait]
impl DeviceManagerService for Manager {
    async fn mapper_register(
        &self,
        request: Request<wire::MapperRegisterRequest>,
    ) -> Result<Response<wire::MapperRegisterResponse>, Status> {
        self.counted(self.register(request).await)
    }

    async fn report_device_status(
        &self,
        request: Request<wire::ReportDeviceStatusRequest>,
    ) -> Result<Response<wire::ReportDeviceStatusResponse>, Status> {
        self.counted(self.take_status(request).await)
    }

    async fn report_device_states(
        &self,
        request: Request<wire::ReportDeviceStatesRequest>,
    ) -> Result<Response<wire::ReportDeviceStatesResponse>, Status> {
        self.counted(self.take_states(request).await)
    }
}

impl Manager {
    async fn register(
        &self,
        request: Request<wire::MapperRegisterRequest>,
    ) -> Result<Response<wire::MapperRegisterResponse>, Status> {
        let wire::MapperRegisterRequest { with_data, mapper } = request.into_inner();
        let mapper = mapper.ok_or_else(|| Status::invalid_argument("mapper is missing"))?;
        if mapper.protocol.is_empty() {
            let name = mapper.name;
            return Err(Status::unknown(format!(
                "fail to register mapper {name} because the protocol is nil"
            )));
        }
        let mut answer = wire::MapperRegisterResponse::default();
        let mut told = Told::default();
        if with_data {
            let mut catalog =
                self.catalog.read().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let shelf = catalog.take(&mapper.protocol);
            told = Told::all_of(&shelf);
            answer.model_list = shelf.models.into_values().collect();
            answer.device_list = shelf.devices.into_values().collect();
        }
        let (name, protocol) = (mapper.name.clone(), mapper.protocol.clone());
        let registered = self.registry.register(Mapper {
            protocol: mapper.protocol,
            name: mapper.name,
            version: mapper.version,
            api_version: mapper.api_version,
            address: String::from_utf8_lossy(&mapper.address).into_owned(),
            called: with_data,
            told,
            registration: 0,
        });
        registered.await.map_err(|full| Status::resource_exhausted(full.to_string()))?;
        info!(mapper = name, protocol, devices = answer.device_list.len(), "a mapper registered");
        Ok(Response::new(answer))
    }

    async fn take_status(
        &self,
        request: Request<wire::ReportDeviceStatusRequest>,
    ) -> Result<Response<wire::ReportDeviceStatusResponse>, Status> {
        let request = request.into_inner();
        let device = device(&request.device_namespace, &request.device_name)?;
        let reported = request.reported_device.filter(|reported| !reported.twins.is_empty());
        let Some(reported) = reported else {
            return Err(Status::unknown("ReportDeviceStatusRequest does not have twin data"));
        };
        let payload = report::twins(&reported.twins).map_err(Status::invalid_argument)?;
        self.submit(device, Verb::TwinUpdate, payload).await?;
        Ok(Response::new(wire::ReportDeviceStatusResponse {}))
    }

    async fn take_states(
        &self,
        request: Request<wire::ReportDeviceStatesRequest>,
    ) -> Result<Response<wire::ReportDeviceStatesResponse>, Status> {
        let request = request.into_inner();
        if request.device_name.is_empty() || request.state.is_empty() {
            return Err(Status::unknown("ReportDeviceStatesRequest is invalid data"));
        }
        let device = device(&request.device_namespace, &request.device_name)?;
        self.submit(device, Verb::StateUpdate, report::state(&request.state)).await?;
        Ok(Response::new(wire::ReportDeviceStatesResponse {}))
    }
}

impl Manager {
    /// The answer; a refusal is counted.
    fn counted<T>(&self, answer: Result<T, Status>) -> Result<T, Status> {
        answer.inspect_err(|refused| {
            self.metrics.mapper_refused(match refused.code() {
                Code::InvalidArgument => "invalid",
                Code::NotFound => "no_device",
                Code::ResourceExhausted => "too_many",
                Code::Unavailable => "unstored",
                _ => "malformed",
            });
        })
    }

    /// Answered when the report is on disk: what a mapper was told to be taken is not lost.
    async fn submit(&self, device: DeviceId, verb: Verb, payload: Bytes) -> Result<(), Status> {
        match self.twins.ask(engine::Request::Device { device, verb, payload }).await {
            Verdict::Done => Ok(()),
            Verdict::Refused(reason) if reason.code() == 404 => Err(Status::not_found(reason.to_string())),
            Verdict::Refused(reason) => Err(Status::invalid_argument(reason.to_string())),
            Verdict::NotStored => {
                Err(Status::unavailable("the report could not be stored on this node: report it again"))
            }
        }
    }
}

fn device(namespace: &str, name: &str) -> Result<DeviceId, Status> {
    DeviceId::new(namespace, name).map_err(|error| {
        Status::invalid_argument(format!("deviceNamespace {namespace:?}, deviceName {name:?}: {error}"))
    })
}
