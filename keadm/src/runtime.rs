//! The container runtime of a node, whichever it is.
//!
//! Owns: the choice between CRI and a Docker engine. Called by: `join` (is it there, and how does it use cgroups) and
//! `reset` (stop the pods that the node ran).

use proto::config::{RuntimeApi, RuntimeType};

use crate::{
    cri::{Cri, Facts, NotRemoved, RuntimeError},
    docker::Engine,
};

/// A connection to a runtime.
#[derive(Clone, Debug)]
pub(crate) enum Runtime {
    Cri(Box<Cri>),
    Docker(Engine),
}

impl Runtime {
    /// Connects to `endpoint` in the protocol that the type, or else the socket's name, calls for.
    pub(crate) async fn connect(kind: RuntimeType, endpoint: &str) -> Result<Self, RuntimeError> {
        match kind.resolve(endpoint) {
            (RuntimeApi::Cri, endpoint) => Cri::connect(&endpoint).await.map(|cri| Self::Cri(Box::new(cri))),
            (RuntimeApi::Docker, endpoint) => Engine::connect(&endpoint).await.map(Self::Docker),
        }
    }

    /// Asks who it is and whether it is ready.
    pub(crate) async fn facts(&mut self) -> Result<Facts, RuntimeError> {
        match self {
            Self::Cri(cri) => {
                let facts = cri.facts().await?;
                cri.has_images().await?;
                Ok(facts)
            }
            Self::Docker(engine) => engine.facts().await,
        }
    }

    /// What runs for Kubernetes pods: an id for [`Runtime::remove_pod`], and `namespace_name_uid`.
    pub(crate) async fn pods(&mut self) -> Result<Vec<(String, String)>, RuntimeError> {
        match self {
            Self::Cri(cri) => Ok(cri
                .pods()
                .await?
                .into_iter()
                .map(|pod| {
                    let facts = pod.metadata.unwrap_or_default();
                    (pod.id, format!("{}_{}_{}", facts.namespace, facts.name, facts.uid))
                })
                .collect()),
            Self::Docker(engine) => engine.pods().await,
        }
    }

    /// Stops and removes one of them, with its network.
    pub(crate) async fn remove_pod(&mut self, id: &str) -> Result<(), NotRemoved> {
        match self {
            Self::Cri(cri) => cri.remove_pod(id).await,
            Self::Docker(engine) => engine.remove(id).await,
        }
    }
}
