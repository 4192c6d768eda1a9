//! What the API serves.

use std::collections::HashMap;

use kube::Client;
use kube::core::ApiResource;
use kube::discovery::{Discovery, Scope, verbs};

/// A kind in one version.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) resource: ApiResource,
    pub(super) namespaced: bool,
}

/// All kinds in all versions.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    by_name: HashMap<(String, String), Served>,
    /// Those to watch: each object is in one of them.
    pub(super) watched: Vec<Served>,
}

impl Kinds {
    /// Asks the API.
    pub(super) async fn discover(client: &Client) -> Result<Self, kube::Error> {
        let discovery = Discovery::new(client.clone()).run_aggregated().await?;
        let mut kinds = Self::default();
        for group in discovery.groups() {
            let served = |(resource, capabilities): (ApiResource, kube::discovery::ApiCapabilities)| {
                let namespaced = capabilities.scope == Scope::Namespaced;
                let can = |verb| capabilities.supports_operation(verb);
                let owned = can(verbs::DELETE) && can(verbs::LIST) && can(verbs::WATCH);
                (Served { resource, namespaced }, owned)
            };
            let versions: Vec<&str> = group.versions().collect();
            for version in versions {
                for (kind, _) in group.versioned_resources(version).into_iter().map(served) {
                    let name = (kind.resource.api_version.clone(), kind.resource.kind.clone());
                    kinds.by_name.insert(name, kind);
                }
            }
            // Events own nothing and are owned by nothing, but are many.
            let wanted = group.resources_by_stability().into_iter().map(served);
            let wanted = wanted.filter(|(kind, owned)| *owned && kind.resource.plural != "events");
            kinds.watched.extend(wanted.map(|(kind, _)| kind));
        }
        Ok(kinds)
    }

    /// The kind of this name.
    pub(super) fn find(&self, api_version: &str, kind: &str) -> Option<&Served> {
        self.by_name.get(&(api_version.to_owned(), kind.to_owned()))
    }
}
