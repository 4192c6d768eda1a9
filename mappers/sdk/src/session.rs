//! The mapper as a program: its socket, its registration with edgecore, again whenever edgecore was gone.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use dmi::v1beta1 as wire;
use dmi::v1beta1::device_manager_service_client::DeviceManagerServiceClient;
use dmi::v1beta1::device_mapper_service_server::DeviceMapperServiceServer;
use hyper_util::rt::TokioIo;
use pages::ProgramFiles;
use tasks::{Backoff, TaskSet};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};
use tower::service_fn;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::fleet::Fleet;
use crate::metrics;
use crate::options::Options;
use crate::protocol::Protocol;
use crate::push::Push;
use crate::reports::Reports;
use crate::server::Ear;

/// How long edgecore may take to answer a registration.
const LIMIT: Duration = Duration::from_secs(10);
/// All devices of a registration; far more than a node has.
const LONGEST: usize = 64 << 20;

/// Why a mapper cannot run.
#[derive(Debug, thiserror::Error)]
pub enum MapperError {
    /// Its own socket.
    #[error("edgecore cannot call this mapper: {} cannot be made: {cause}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Its counts.
    #[error("--metrics {at}: {cause}; choose an address that is free here")]
    Metrics {
        /// Where they are to be shown.
        at: SocketAddr,
        /// Why they cannot be.
        cause: io::Error,
    },
    /// edgecore does not want it.
    #[error("edgecore refuses this mapper: {0}")]
    Refused(String),
    /// gRPC broke.
    #[error("the mapper's socket broke: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// Runs the mapper until it is told to stop: the `main` of a mapper, to be called while the process has one thread.
pub fn run(protocol: impl Protocol, options: Options) -> ExitCode {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,h2=warn,hyper=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .init();
    let files = ProgramFiles::at_start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            error!("the async runtime cannot be started: {cause}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        let memory_tasks = TaskSet::new("memory");
        files.keep_giving_back(&memory_tasks);
        let stop = CancellationToken::new();
        let serving = serve(protocol, options, stop.clone());
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => ended,
            () = told_to_stop() => {
                stop.cancel();
                serving.await
            }
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the mapper until `stop` is cancelled.
///
/// # Errors
/// See [`MapperError`]. That edgecore is not there is none: it is waited for.
pub async fn serve<P: Protocol>(
    protocol: P,
    options: Options,
    stop: CancellationToken,
) -> Result<(), MapperError> {
    let reports = Arc::new(Reports::default());
    let speaks = options.protocol.clone().unwrap_or_else(|| P::NAME.to_owned());
    let name = options.name.clone().unwrap_or_else(|| format!("{speaks}-mapper"));
    let buffer =
        options.buffer.clone().unwrap_or_else(|| PathBuf::from("/var/lib").join(&name).join("push.db"));
    let push = Push::new(buffer);
    push.resume().await;
    let fleet = Arc::new(Fleet::new(protocol, Arc::clone(&reports), push.clone()));
    let socket = options
        .socket
        .clone()
        .unwrap_or_else(|| options.edgecore_socket.with_file_name(format!("{speaks}.sock")));
    // First of all: edgecore calls as soon as the mapper has registered.
    let listener = bind(&socket)?;
    let server = Server::builder()
        .add_service(
            DeviceMapperServiceServer::new(Ear(Arc::clone(&fleet))).max_decoding_message_size(LONGEST),
        )
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.clone().cancelled_owned());
    let info = wire::MapperInfo {
        name,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api_version: "v1beta1".to_owned(),
        protocol: speaks,
        address: socket.as_os_str().as_encoded_bytes().to_vec(),
        state: "ok".to_owned(),
    };
    let metrics = async {
        match options.metrics {
            Some(at) => metrics::serve(at, push.counts(), stop.clone()).await,
            None => std::future::pending().await,
        }
    };
    let session = keep_registered(&options.edgecore_socket, &info, &fleet, &reports);
    let ended = tokio::select! {
        served = server => served.map_err(MapperError::from),
        refused = session => Err(refused),
        // It ends with the server when it is told to stop.
        Err(failed) = metrics => Err(failed),
    };
    fleet.end().await;
    push.end().await;
    let _ = fs::remove_file(&socket);
    ended
}

/// Registers, reports, and begins anew when edgecore is lost.
async fn keep_registered<P: Protocol>(
    edgecore: &Path,
    info: &wire::MapperInfo,
    fleet: &Fleet<P>,
    reports: &Reports,
) -> MapperError {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let mut said = String::new();
    loop {
        let why = match register(edgecore, info).await {
            Ok((client, given)) => {
                info!(devices = given.device_list.len(), "registered");
                said.clear();
                backoff.reset();
                reports.begin_anew();
                fleet.replace(given.model_list, given.device_list).await;
                reports.send(&client).await.0
            }
            Err(status)
                if matches!(status.code(), Code::Unknown | Code::InvalidArgument)
                    && std::error::Error::source(&status).is_none()
                    && !status.message().contains("too many request") =>
            {
                return MapperError::Refused(status.message().to_owned());
            }
            Err(status) => status,
        };
        if said != why.message() {
            warn!(socket = %edgecore.display(), "edgecore does not answer, devices are read on: {}", why.message());
            said = why.message().to_owned();
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

async fn register(
    edgecore: &Path,
    info: &wire::MapperInfo,
) -> Result<(DeviceManagerServiceClient<Channel>, wire::MapperRegisterResponse), Status> {
    let path = edgecore.to_owned();
    let connect = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://edgecore.invalid").connect_timeout(LIMIT).timeout(LIMIT);
    let channel = endpoint.connect_with_connector(connect).await.map_err(|error| unreachable(&error))?;
    let mut client = DeviceManagerServiceClient::new(channel).max_decoding_message_size(LONGEST);
    let request = wire::MapperRegisterRequest { with_data: true, mapper: Some(info.clone()) };
    let given = client.mapper_register(request).await?.into_inner();
    Ok((client, given))
}

/// With the system's own reason.
fn unreachable(error: &dyn std::error::Error) -> Status {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Status::unavailable(cause.to_string())
}

/// Replaces what an earlier run left.
fn bind(path: &Path) -> Result<UnixListener, MapperError> {
    let failed = |cause| MapperError::Socket { path: path.to_owned(), cause };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    UnixListener::bind(path).map_err(failed)
}

async fn told_to_stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
