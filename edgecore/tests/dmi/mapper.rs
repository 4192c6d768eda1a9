//! A mapper that writes down what it is told: the same gRPC over the same sockets as any other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dmi::v1beta1::device_manager_service_client::DeviceManagerServiceClient;
use dmi::v1beta1::device_mapper_service_server::{DeviceMapperService, DeviceMapperServiceServer};
use dmi::v1beta1::*;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

/// What a mapper was told.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    CreateModel(DeviceModel),
    UpdateModel(DeviceModel),
    RemoveModel(String),
    Register(Device),
    Update(Device),
    Remove(String),
}

/// A running mapper.
pub(crate) struct Mapper {
    heard: mpsc::Receiver<Heard>,
    server: JoinSet<()>,
    path: PathBuf,
}

impl Mapper {
    pub(crate) fn start(path: &Path) -> Self {
        Self::refusing(path, "")
    }

    /// Refuses the device of this name.
    pub(crate) fn refusing(path: &Path, refused: &str) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let (told, heard) = mpsc::channel(1000);
        let service = DeviceMapperServiceServer::new(Ear { told, refused: refused.to_owned() });
        let serving = Server::builder().add_service(service);
        let serving = serving.serve_with_incoming(UnixListenerStream::new(listener));
        let mut server = JoinSet::new();
        server.spawn(async move { serving.await.unwrap() });
        Self { heard, server, path: path.to_owned() }
    }

    /// As by kill -9: the socket's file stays.
    pub(crate) async fn kill(mut self) {
        self.server.shutdown().await;
    }

    /// The next thing that it is told.
    pub(crate) async fn hears(&mut self) -> Heard {
        timeout(Duration::from_secs(15), self.heard.recv()).await.expect("the mapper is told").unwrap()
    }

    /// Nothing more has come after a while.
    pub(crate) async fn is_left_alone(&mut self) {
        if let Ok(heard) = timeout(Duration::from_millis(500), self.heard.recv()).await {
            panic!("told without need: {heard:?}");
        }
    }

    pub(crate) fn registration(&self, protocol: &str, with_data: bool) -> MapperRegisterRequest {
        let mapper = MapperInfo {
            name: "test-mapper".into(),
            version: "v1".into(),
            api_version: "v1".into(),
            protocol: protocol.into(),
            address: self.path.to_str().unwrap().into(),
            state: "ok".into(),
        };
        MapperRegisterRequest { with_data, mapper: Some(mapper) }
    }
}

/// A client of edgecore's socket; waits until it is there.
pub(crate) async fn manager(directory: &Path) -> DeviceManagerServiceClient<Channel> {
    let path = directory.join("dmi.sock");
    for _ in 0..500 {
        let path = path.clone();
        let connect = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        if let Ok(channel) =
            Endpoint::from_static("http://edgecore.invalid").connect_with_connector(connect).await
        {
            return DeviceManagerServiceClient::new(channel);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} is not served", path.display());
}

struct Ear {
    told: mpsc::Sender<Heard>,
    refused: String,
}

impl Ear {
    fn hear<T: Default>(&self, heard: Heard) -> Result<Response<T>, Status> {
        self.told.try_send(heard).unwrap();
        Ok(Response::new(T::default()))
    }
}

#[tonic::async_trait]
impl DeviceMapperService for Ear {
    async fn register_device(
        &self,
        request: Request<RegisterDeviceRequest>,
    ) -> Result<Response<RegisterDeviceResponse>, Status> {
        let device = request.into_inner().device.unwrap();
        if device.name == self.refused {
            return Err(Status::invalid_argument("no such register"));
        }
        self.hear(Heard::Register(device))
    }

    async fn remove_device(
        &self,
        request: Request<RemoveDeviceRequest>,
    ) -> Result<Response<RemoveDeviceResponse>, Status> {
        let request = request.into_inner();
        self.hear(Heard::Remove(format!("{}/{}", request.device_namespace, request.device_name)))
    }

    async fn update_device(
        &self,
        request: Request<UpdateDeviceRequest>,
    ) -> Result<Response<UpdateDeviceResponse>, Status> {
        self.hear(Heard::Update(request.into_inner().device.unwrap()))
    }

    async fn create_device_model(
        &self,
        request: Request<CreateDeviceModelRequest>,
    ) -> Result<Response<CreateDeviceModelResponse>, Status> {
        self.hear(Heard::CreateModel(request.into_inner().model.unwrap()))
    }

    async fn remove_device_model(
        &self,
        request: Request<RemoveDeviceModelRequest>,
    ) -> Result<Response<RemoveDeviceModelResponse>, Status> {
        let request = request.into_inner();
        self.hear(Heard::RemoveModel(format!("{}/{}", request.model_namespace, request.model_name)))
    }

    async fn update_device_model(
        &self,
        request: Request<UpdateDeviceModelRequest>,
    ) -> Result<Response<UpdateDeviceModelResponse>, Status> {
        self.hear(Heard::UpdateModel(request.into_inner().model.unwrap()))
    }

    async fn get_device(&self, _: Request<GetDeviceRequest>) -> Result<Response<GetDeviceResponse>, Status> {
        Err(Status::unimplemented("edgecore never asks"))
    }
}
