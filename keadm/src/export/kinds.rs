use kube::{
    Client,
    core::discovery::verbs,
    discovery::{ApiResource, Discovery, Scope},
};

use crate::{cluster, problem::Problem};

/// A kind of object that can be exported.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) resource: ApiResource,
    pub(super) namespaced: bool,
}

/// What one needs before the other: kinds are applied in this order, then all other ones by name.
const ORDER: [&str; 30] = [
    "customresourcedefinitions.apiextensions.k8s.io",
    "namespaces",
    "priorityclasses.scheduling.k8s.io",
    "runtimeclasses.node.k8s.io",
    "storageclasses.storage.k8s.io",
    "ingressclasses.networking.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "serviceaccounts",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "limitranges",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumes",
    "persistentvolumeclaims",
    "services",
    "networkpolicies.networking.k8s.io",
    "poddisruptionbudgets.policy",
    "daemonsets.apps",
    "statefulsets.apps",
    "deployments.apps",
    "replicasets.apps",
    "replicationcontrollers",
    "jobs.batch",
    "cronjobs.batch",
    "pods",
    "horizontalpodautoscalers.autoscaling",
    "ingresses.networking.k8s.io",
];
/// What a cluster makes by itself: reports, leases, endpoints, registrations.
const NOT_USERS: [&str; 15] = [
    "apiservices.apiregistration.k8s.io",
    "bindings",
    "certificatesigningrequests.certificates.k8s.io",
    "componentstatuses",
    "controllerrevisions.apps",
    "csinodes.storage.k8s.io",
    "csistoragecapacities.storage.k8s.io",
    "endpoints",
    "endpointslices.discovery.k8s.io",
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "nodes",
    "objectsyncs.reliablesyncs.kubeedge.io",
    "volumeattachments.storage.k8s.io",
];
const NOT_USERS_GROUPS: [&str; 4] = [
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "metrics.k8s.io",
    "reliablesyncs.kubeedge.io",
];

impl Kind {
    /// `pods`, `deployments.apps`.
    pub(super) fn name(&self) -> String {
        match self.resource.group.as_str() {
            "" => self.resource.plural.clone(),
            group => format!("{}.{group}", self.resource.plural),
        }
    }

    pub(super) fn is_secret(&self) -> bool {
        self.name() == "secrets"
    }

    fn is_users(&self) -> bool {
        !NOT_USERS.contains(&self.name().as_str())
            && !NOT_USERS_GROUPS.contains(&self.resource.group.as_str())
    }

    fn rank(&self) -> usize {
        let name = self.name();
        ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len())
    }

    fn is_called(&self, asked: &str) -> bool {
        let own = [&self.name(), &self.resource.plural, &self.resource.kind];
        own.into_iter().any(|name| name.eq_ignore_ascii_case(asked))
    }
}

/// Every kind that a user can have objects of, in the order of applying.
pub(super) async fn served(client: &Client) -> Result<Vec<Kind>, Problem> {
    let discovery = Discovery::new(client.clone()).run().await;
    let discovery = discovery.map_err(|error| cluster::api_problem("ask which kinds there are", &error))?;
    let mut kinds: Vec<Kind> = discovery
        .groups()
        .flat_map(|group| group.recommended_resources())
        .filter(|(_, can)| can.supports_operation(verbs::LIST) && can.supports_operation(verbs::CREATE))
        .map(|(resource, can)| Kind { resource, namespaced: can.scope == Scope::Namespaced })
        .filter(Kind::is_users)
        .collect();
    kinds.sort_by_key(|kind| (kind.rank(), kind.name()));
    Ok(kinds)
}

/// Those of `kinds` that were asked for by plural, kind, or plural and group; all when none was.
pub(super) fn select(kinds: Vec<Kind>, asked: &[String]) -> Result<Vec<Kind>, Vec<Problem>> {
    let unknown = asked.iter().filter(|asked| !kinds.iter().any(|kind| kind.is_called(asked)));
    let problems: Vec<Problem> = unknown
        .map(|asked| {
            Problem::new(format!("{asked} cannot be exported"))
                .cause("the cluster serves no such kind, or makes its objects by itself")
                .next("choose from: kubectl api-resources")
        })
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let chosen = |kind: &Kind| asked.is_empty() || asked.iter().any(|asked| kind.is_called(asked));
    Ok(kinds.into_iter().filter(chosen).collect())
}

#[cfg(test)]
pub(super) fn kind(group: &str, kind: &str, plural: &str) -> Kind {
    let resource = ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") },
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    Kind { resource, namespaced: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_under_every_name_they_have() {
        let all = || vec![kind("", "Pod", "pods"), kind("apps", "Deployment", "deployments")];
        let chosen = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(|&one| one.to_owned()).collect();
            select(all(), &asked).map(|kinds| kinds.iter().map(Kind::name).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&[]).unwrap(), ["pods", "deployments.apps"]);
        assert_eq!(chosen(&["Deployment"]).unwrap(), ["deployments.apps"]);
        assert_eq!(chosen(&["deployments.apps", "PODS"]).unwrap(), ["pods", "deployments.apps"]);
        assert!(
            chosen(&["pods", "unicorns"]).unwrap_err()[0].to_string().contains("unicorns cannot be exported")
        );
    }
}
