//! What the operator asks of the API, counted on its own side.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::util::MapRequestLayer;

/// Requests by what they are: `PATCH secrets`, `watch configmaps`.
#[derive(Clone, Default)]
pub struct Requests(Arc<Mutex<BTreeMap<String, usize>>>);

impl Requests {
    /// A client of the cluster in `kubeconfig` that goes through `address` and is counted here.
    pub async fn client(&self, kubeconfig: &Path, address: std::net::SocketAddr) -> Result<Client> {
        let file = Kubeconfig::read_from(kubeconfig)?;
        let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        config.cluster_url = format!("https://{address}").parse()?;
        let counts = self.clone();
        let counted = MapRequestLayer::new(move |request: http::Request<Body>| {
            counts.note(request.method(), request.uri());
            request
        });
        Ok(ClientBuilder::try_from(config)?.with_layer(&counted).build())
    }

    fn note(&self, method: &http::Method, uri: &http::Uri) {
        let kinds = ["leases", "events", "secrets", "configmaps"];
        let kind = kinds.into_iter().find(|kind| uri.path().contains(kind)).unwrap_or("other");
        let watch = uri.query().is_some_and(|query| query.contains("watch=true"));
        let verb = if watch { "watch" } else { method.as_str() };
        *self.0.lock().unwrap().entry(format!("{verb} {kind}")).or_default() += 1;
    }

    /// How many there were so far, without those of the election.
    pub fn of_work(&self) -> usize {
        let counts = self.0.lock().unwrap();
        counts.iter().filter(|(what, _)| !what.ends_with(" leases")).map(|(_, count)| count).sum()
    }

    /// How many there were for the election.
    pub fn of_election(&self) -> usize {
        let counts = self.0.lock().unwrap();
        counts.iter().filter(|(what, _)| what.ends_with(" leases")).map(|(_, count)| count).sum()
    }
}

impl std::fmt::Display for Requests {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = self.0.lock().unwrap();
        let counts: Vec<String> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
        out.write_str(&counts.join(", "))
    }
}
