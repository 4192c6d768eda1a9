//! Calls of a mapper on its own socket.

use std::path::PathBuf;
use std::time::Duration;

use dmi::v1beta1 as wire;
use dmi::v1beta1::device_mapper_service_client::DeviceMapperServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::plan::{Call, What};
use super::registry::Mapper;

/// As long as KubeEdge v1.23 waits for a mapper.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// There is nobody to call.
    #[error("nobody answers at {address}: {cause}. Does the mapper run?")]
    Unreachable { address: String, cause: String },
    /// The address that it registered with is no path.
    #[error("{0:?} is no absolute path of a unix socket: the mapper registered with it as its address")]
    Address(String),
    /// The mapper does not want it.
    #[error("the mapper refuses it: {0}")]
    Refused(String),
    /// It takes too long.
    #[error("the mapper has not answered within {} s", LIMIT.as_secs())]
    Late,
}

/// A connection to a mapper.
pub(super) struct Line {
    client: DeviceMapperServiceClient<Channel>,
    address: String,
}

// === impl Line ===

impl Line {
    pub(super) async fn open(mapper: &Mapper) -> Result<Self, CallError> {
        let address = mapper.address.clone();
        let path = PathBuf::from(address.strip_prefix("unix://").unwrap_or(&address));
        if !path.is_absolute() {
            return Err(CallError::Address(address));
        }
        let connect = service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://mapper.invalid").connect_timeout(LIMIT);
        match endpoint.connect_with_connector(connect).await {
            Ok(channel) => Ok(Self { client: DeviceMapperServiceClient::new(channel), address }),
            Err(error) => Err(CallError::Unreachable { address, cause: innermost(&error) }),
        }
    }

    pub(super) async fn say(&mut self, call: &Call) -> Result<(), CallError> {
        match tokio::time::timeout(LIMIT, self.send(call)).await {
            Ok(Ok(())) => Ok(()),
            // A mapper that dies in the middle refuses nothing.
            Ok(Err(status)) if std::error::Error::source(&status).is_some() => {
                Err(CallError::Unreachable { address: self.address.clone(), cause: innermost(&status) })
            }
            Ok(Err(status)) => Err(CallError::Refused(status.message().to_owned())),
            Err(_) => Err(CallError::Late),
        }
    }

    async fn send(&mut self, call: &Call) -> Result<(), Status> {
        let Self { client, .. } = self;
        let (namespace, name) = call.name.split_once('/').unwrap_or_default();
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        match &call.what {
            What::CreateModel(model) => {
                let model = Some(model.clone());
                client.create_device_model(wire::CreateDeviceModelRequest { model }).await.map(drop)
            }
            What::UpdateModel(model) => {
                let model = Some(model.clone());
                client.update_device_model(wire::UpdateDeviceModelRequest { model }).await.map(drop)
            }
            What::RemoveModel => {
                let request = wire::RemoveDeviceModelRequest { model_name: name, model_namespace: namespace };
                client.remove_device_model(request).await.map(drop)
            }
            What::RegisterDevice(device) => {
                let device = Some(device.clone());
                client.register_device(wire::RegisterDeviceRequest { device }).await.map(drop)
            }
            What::UpdateDevice(device) => {
                let device = Some(device.clone());
                client.update_device(wire::UpdateDeviceRequest { device }).await.map(drop)
            }
            What::RemoveDevice => {
                let request = wire::RemoveDeviceRequest { device_name: name, device_namespace: namespace };
                client.remove_device(request).await.map(drop)
            }
        }
    }
}

/// The error that names the system's reason.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
