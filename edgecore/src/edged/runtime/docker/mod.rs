//! Owns the client of the Docker Engine API (20.10 or newer) over its unix socket, without cri-dockerd: a pod's sandbox is a
//! pause container whose network and IPC namespaces the pod's containers join. Everything that adoption needs is in
//! names and labels, the same as dockershim's. May call: `runtime` types and helpers. Called through
//! [`ContainerRuntime`](super::ContainerRuntime).

mod client;
mod container;
mod error;
mod exec;
mod images;
mod log;
mod names;
mod observe;
mod oom;
mod sandbox;
mod security;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::ClientVersion;
use bollard::errors::Error;

use super::RuntimeError;
use super::shared::socket;

/// The API of Docker Engine 20.10; nothing newer is needed.
const OLDEST: ClientVersion = ClientVersion { major_version: 1, minor_version: 41 };
/// Deadlines are set per call; this one only keeps the library from having a shorter one of its own.
const LIBRARY_LIMIT: u64 = 24 * 3600;

/// What edged decides about its use of the engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Deadline of calls (`runtimeRequestTimeout`).
    pub limit: Duration,
    /// Image of pod sandboxes.
    pub pause: String,
    /// A container's log is turned over by the engine at this size, in bytes.
    pub log_max_size: u64,
    /// Log files kept per container, at least 1.
    pub log_max_files: u32,
}

/// The client of a Docker engine.
#[derive(Clone)]
pub struct Docker {
    endpoint: String,
    socket: PathBuf,
    options: Arc<Options>,
    /// The connection in the version that was agreed upon; forgotten when the engine goes away.
    engine: Arc<Mutex<Option<Engine>>>,
}

#[derive(Clone)]
struct Engine {
    api: bollard::Docker,
    oom: oom::Floor,
}

impl Docker {
    /// A client for `unix:///path/to/docker.sock`; connects on first use.
    ///
    /// # Errors
    /// When the endpoint is no unix socket.
    pub fn new(endpoint: &str, options: Options) -> Result<Self, RuntimeError> {
        Ok(Self {
            endpoint: endpoint.to_owned(),
            socket: socket(endpoint)?,
            options: Arc::new(options),
            engine: Arc::default(),
        })
    }

    /// Runs one call under a deadline and translates its failure.
    async fn call<T, F>(
        &self,
        call: &'static str,
        limit: Duration,
        ask: impl FnOnce(bollard::Docker) -> F,
    ) -> Result<T, RuntimeError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let engine = self.engine().await?;
        match tokio::time::timeout(limit, ask(engine.api)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.fail(call, limit, error)),
            Err(_) => Err(RuntimeError::Timeout { endpoint: self.endpoint.clone(), call, limit }),
        }
    }

    fn fail(&self, call: &'static str, limit: Duration, error: Error) -> RuntimeError {
        let error = error::translate(&self.endpoint, call, limit, error);
        if error.is_outage() {
            // Another version may answer when it comes back.
            self.remember(None);
        }
        error
    }

    async fn engine(&self) -> Result<Engine, RuntimeError> {
        let known = self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(engine) = known {
            return Ok(engine);
        }
        let engine = self.agree().await?;
        self.remember(Some(engine.clone()));
        Ok(engine)
    }

    fn remember(&self, engine: Option<Engine>) {
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = engine;
    }

    /// Finds a version of the API that the engine serves: the oldest that has all that is needed, or what a newer
    /// engine calls its oldest.
    async fn agree(&self) -> Result<Engine, RuntimeError> {
        const CALL: &str = "version";
        let limit = self.options.limit;
        let mut version = OLDEST;
        for newest_try in [false, true] {
            let path = self.socket.to_string_lossy();
            let api = bollard::Docker::connect_with_unix(&path, LIBRARY_LIMIT, &version)
                .map_err(|error| error::translate(&self.endpoint, CALL, limit, error))?;
            match tokio::time::timeout(limit, api.version()).await {
                Ok(Ok(_)) => return Ok(Engine { api, oom: oom::Floor::of(&self.socket).await }),
                Ok(Err(error)) => match error::oldest_served(&error) {
                    Some(oldest) if !newest_try => version = oldest,
                    _ => return Err(error::translate(&self.endpoint, CALL, limit, error)),
                },
                Err(_) => break,
            }
        }
        Err(RuntimeError::Timeout { endpoint: self.endpoint.clone(), call: CALL, limit })
    }
}
