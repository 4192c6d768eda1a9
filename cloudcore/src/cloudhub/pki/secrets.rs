//! The three Secrets in which KubeEdge keeps its identity.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use super::SetupError;
use crate::kubeapi::{Failure, status_of};

/// Where they are.
const NAMESPACE: &str = "kubeedge";

/// A Secret's data.
pub(super) type Data = BTreeMap<String, Vec<u8>>;

/// One of the three.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept {
    Authority,
    Server,
    Token,
}

/// Reads and writes them.
#[derive(Clone)]
pub(super) struct Secrets {
    client: Client,
    api: Api<Secret>,
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Self::Authority => "casecret",
            Self::Server => "cloudcoresecret",
            Self::Token => "tokensecret",
        }
    }

    fn failed(self, action: &'static str, status: Failure) -> SetupError {
        SetupError::Api { secret: self.name(), action, status }
    }
}

impl Secrets {
    pub(super) fn new(client: Client) -> Self {
        let api = Api::namespaced(client.clone(), NAMESPACE);
        Self { client, api }
    }

    pub(super) async fn ensure_namespace(&self) -> Result<(), SetupError> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let failed = |status| Kept::Authority.failed("written (namespace kubeedge)", status);
        if namespaces.get_opt(NAMESPACE).await.map_err(|error| failed(status_of(error)))?.is_some() {
            return Ok(());
        }
        let metadata = ObjectMeta { name: Some(NAMESPACE.into()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        match namespaces.create(&PostParams::default(), &namespace).await.map_err(status_of) {
            Err(status) if !status.is_already_exists() => Err(failed(status)),
            _ => Ok(()),
        }
    }

    pub(super) async fn read(&self, kept: Kept) -> Result<Option<Data>, SetupError> {
        let found =
            self.api.get_opt(kept.name()).await.map_err(|error| kept.failed("read", status_of(error)))?;
        let data = found.map(|secret| secret.data.unwrap_or_default());
        Ok(data.map(|data| data.into_iter().map(|(key, bytes)| (key, bytes.0)).collect()))
    }

    /// False if it exists already.
    pub(super) async fn create(&self, kept: Kept, data: BTreeMap<&str, Vec<u8>>) -> Result<bool, SetupError> {
        match self.api.create(&PostParams::default(), &secret(kept, &data)).await.map_err(status_of) {
            Ok(_) => Ok(true),
            Err(status) if status.is_already_exists() => Ok(false),
            Err(status) => Err(kept.failed("written", status)),
        }
    }

    pub(super) async fn write(&self, kept: Kept, data: BTreeMap<&str, Vec<u8>>) -> Result<(), SetupError> {
        if self.create(kept, data.clone()).await? {
            return Ok(());
        }
        let patch = Patch::Merge(json!({ "data": secret(kept, &data).data }));
        let written = self.api.patch(kept.name(), &PatchParams::default(), &patch).await;
        written.map(drop).map_err(|error| kept.failed("written", status_of(error)))
    }
}

fn secret(kept: Kept, data: &BTreeMap<&str, Vec<u8>>) -> Secret {
    let metadata = ObjectMeta {
        name: Some(kept.name().into()),
        namespace: Some(NAMESPACE.into()),
        ..ObjectMeta::default()
    };
    let data = data.iter().map(|(key, bytes)| ((*key).to_owned(), ByteString(bytes.clone()))).collect();
    Secret { metadata, data: Some(data), type_: Some("Opaque".into()), ..Secret::default() }
}
