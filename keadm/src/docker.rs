//! A Docker engine, as far as setting up and taking down a node needs it.
//!
//! Owns: one client of the engine's socket. Called by: `runtime`.

use std::collections::HashMap;
use std::path::PathBuf;

use bollard::errors::Error;
use bollard::models::SystemInfoCgroupDriverEnum as Driver;
use bollard::query_parameters::{
    InspectNetworkOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};
use bollard::{ClientVersion, Docker};

use crate::cri::{ANSWER_LIMIT, Facts, NotRemoved, POD_UID, REMOVAL_LIMIT, RuntimeError, open, socket_of};

/// The API of Docker Engine 20.10, and the oldest that engines of 2025 still serve.
const VERSIONS: [ClientVersion; 2] = [
    ClientVersion { major_version: 1, minor_version: 41 },
    ClientVersion { major_version: 1, minor_version: 44 },
];
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";

/// A client of an engine.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    api: Docker,
    version: String,
}

impl Engine {
    /// Connects to `endpoint`, for example `unix:///var/run/docker.sock`.
    pub(crate) async fn connect(endpoint: &str) -> Result<Self, RuntimeError> {
        let socket: PathBuf = socket_of(endpoint)?;
        open(&socket).await?;
        let mut refused = String::new();
        for version in &VERSIONS {
            let path = socket.to_string_lossy();
            let api = Docker::connect_with_unix(&path, ANSWER_LIMIT.as_secs(), version)
                .map_err(|e| no_docker(&e))?;
            match api.version().await {
                Ok(told) => return Ok(Self { api, version: told.version.unwrap_or_default() }),
                Err(error) => refused = words(&error),
            }
        }
        Err(RuntimeError::NotDocker(refused))
    }

    /// Asks whether it can run pods, and how it uses cgroups.
    pub(crate) async fn facts(&self) -> Result<Facts, RuntimeError> {
        let info = self.api.info().await.map_err(|e| no_docker(&e))?;
        let network = self.api.inspect_network("bridge", None::<InspectNetworkOptions>).await;
        Ok(Facts {
            name: format!("Docker Engine {}", self.version),
            runtime_not_ready: None,
            network_not_ready: network.err().map(|error| {
                format!("{}: is \"bridge\": \"none\" in /etc/docker/daemon.json?", words(&error))
            }),
            cgroup_driver: match info.cgroup_driver {
                Some(Driver::CGROUPFS) => Some("cgroupfs"),
                Some(Driver::SYSTEMD) => Some("systemd"),
                _ => None,
            },
        })
    }

    /// Containers of pods, sandboxes included, running or not: id, and `namespace_name_uid` of the pod.
    pub(crate) async fn pods(&self) -> Result<Vec<(String, String)>, RuntimeError> {
        let filters = HashMap::from([("label".to_owned(), vec![POD_UID.to_owned()])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = self.api.list_containers(Some(options)).await.map_err(|e| no_docker(&e))?;
        Ok(listed
            .into_iter()
            .filter_map(|container| {
                let labels = container.labels.unwrap_or_default();
                let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
                let pod = format!("{}_{}_{}", label(POD_NAMESPACE), label(POD_NAME), label(POD_UID));
                Some((container.id?, pod))
            })
            .collect())
    }

    /// Ends and removes one of them.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), NotRemoved> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let patient = self.api.clone().with_timeout(REMOVAL_LIMIT);
        match patient.remove_container(id, Some(options)).await {
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
            Err(error) => Err(NotRemoved(words(&error))),
        }
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

fn no_docker(error: &Error) -> RuntimeError {
    RuntimeError::NotDocker(words(error))
}
