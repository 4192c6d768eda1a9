//! The Kubernetes API that an administrator's kubeconfig leads to.
//!
//! Owns: choosing the kubeconfig, connecting, the Secrets and CRDs that keadm itself reads and writes there.
//! May call: `kube`. Called by: `init`, `gettoken`, `reset`, `export`, `device`.

use std::path::{Path, PathBuf};

use k8s_openapi::{
    api::core::v1::Secret, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{layout::Layout, problem::Problem};

/// Where KubeEdge keeps its Secrets.
pub(crate) const NAMESPACE: &str = "kubeedge";

/// The kubeconfig to use: the flag, `$KUBECONFIG`, the one that `keadm init` wrote, or root's own.
pub(crate) fn kubeconfig(flag: Option<&Path>, layout: &Layout) -> PathBuf {
    let admin = layout.admin_kubeconfig();
    flag.map(Path::to_owned)
        .or_else(|| std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()).map(PathBuf::from))
        .unwrap_or_else(|| if admin.exists() { admin } else { PathBuf::from("/root/.kube/config") })
}

/// A client for the cluster that `path` describes. Nothing is sent yet.
pub(crate) async fn connect(path: &Path) -> Result<Client, Problem> {
    let wrong = |cause: String, next: String| {
        Problem::new(format!("the kubeconfig {} cannot be used", path.display())).cause(cause).next(next)
    };
    if !path.exists() {
        let next = "run `keadm init` first, or name another file with --kube-config".to_owned();
        return Err(wrong("there is no such file".to_owned(), next));
    }
    let check = || format!("check it with: kubectl --kubeconfig {} version", path.display());
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| wrong(error.to_string(), check()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| wrong(error.to_string(), check()))?;
    Client::try_from(config).map_err(|error| wrong(error.to_string(), check()))
}

/// What an API call came to, as a problem.
pub(crate) fn api_problem(action: &str, error: &kube::Error) -> Problem {
    let next = match error {
        kube::Error::Api(status) if status.code == 401 || status.code == 403 => {
            "use an administrator's kubeconfig: --kube-config FILE"
        }
        kube::Error::Api(status) if status.code == 404 => {
            "check that cloudcore runs, it makes this at its start"
        }
        _ => "check that the API server runs and that the kubeconfig leads to it",
    };
    let mut cause = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        cause = inner.to_string();
        source = inner.source();
    }
    Problem::new(format!("cannot {action}")).cause(cause).next(next)
}

/// One key of a Secret in KubeEdge's namespace.
pub(crate) async fn secret(client: &Client, name: &str, key: &str) -> Result<Vec<u8>, Problem> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let action = format!("read Secret {NAMESPACE}/{name}");
    let secret = secrets.get(name).await.map_err(|error| api_problem(&action, &error))?;
    secret.data.unwrap_or_default().remove(key).map(|bytes| bytes.0).ok_or_else(|| {
        Problem::new(format!("cannot {action}"))
            .cause(format!("it has no key {key}"))
            .next("delete it and restart cloudcore, which makes it anew")
    })
}

/// Whether our CRDs can take the place of those that a cluster has: an API server does not let go of a version in which
/// objects may still be stored, and KubeEdge never moves them on.
pub(crate) async fn check_crds(client: &Client) -> Vec<Problem> {
    let ours = match definitions() {
        Ok(ours) => ours,
        Err(problem) => return vec![problem],
    };
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut problems = Vec::new();
    for definition in ours {
        let name = definition.metadata.name.as_deref().unwrap_or_default();
        match api.get_opt(name).await {
            Ok(Some(theirs)) => problems.extend(stored_before(&theirs, &definition)),
            Ok(None) => {}
            Err(error) => {
                let action = format!("read CustomResourceDefinition {name}");
                problems.push(api_problem(&action, &error));
                break;
            }
        }
    }
    problems
}

fn stored_before(theirs: &CustomResourceDefinition, ours: &CustomResourceDefinition) -> Option<Problem> {
    let stored = theirs.status.as_ref()?.stored_versions.as_deref()?;
    let old = stored.iter().find(|name| !ours.spec.versions.iter().any(|version| version.name == **name))?;
    let new = &ours.spec.versions.iter().find(|version| version.storage)?.name;
    let (plural, group) = (&ours.spec.names.plural, &ours.spec.group);
    let crd = format!("{plural}.{group}");
    let file = format!("{plural}.yaml");
    let save = format!("kubectl get {plural}.{old}.{group} -A -o yaml | keadm device convert -f - > {file}");
    // What is applied in the new version is stored in it.
    let next = if theirs.spec.versions.iter().any(|version| version.name == *new && version.served) {
        let patch = format!(r#"{{"status":{{"storedVersions":["{new}"]}}}}"#);
        format!(
            "convert them, store them anew, say that none is left of {old}, then run this again:\n{save}\nkubectl apply -f {file}\n\
             kubectl patch crd {crd} --subresource=status --type=merge -p '{patch}'"
        )
    } else {
        format!(
            "convert them, remove the definition and with it the objects, run this again, then apply them:\n{save}\n\
             kubectl delete crd {crd}\nkubectl apply -f {file}"
        )
    };
    Some(
        Problem::new(format!("{plural} of the cluster may still be stored as {group}/{old}, which cloudcore does not read"))
            .cause(format!(
                "status.storedVersions of CustomResourceDefinition {crd} has {old}, so the API server does not take a definition without it"
            ))
            .next(next),
    )
}

fn definitions() -> Result<Vec<CustomResourceDefinition>, Problem> {
    let broken = |error| Problem::new("a CRD of ours cannot be read").cause(error).next("report this");
    proto::crds::all().map_err(broken)
}

/// Puts our CRDs into a cluster, over KubeEdge's own where those are older. Fields that others set are kept.
pub(crate) async fn apply_crds(client: &Client) -> Result<(), Problem> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let how = PatchParams::apply("keadm").force();
    for definition in definitions()? {
        let name = definition.metadata.name.clone().unwrap_or_default();
        let action = format!("apply CustomResourceDefinition {name}");
        api.patch(&name, &how, &Patch::Apply(&definition))
            .await
            .map_err(|error| api_problem(&action, &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn theirs(stored: &[&str], served: &[&str]) -> CustomResourceDefinition {
        let versions: Vec<_> = served
            .iter()
            .map(|name| json!({"name": name, "served": true, "storage": *name == *served.last().unwrap()}))
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": "devices.devices.kubeedge.io"},
            "spec": {"group": "devices.kubeedge.io", "scope": "Namespaced", "versions": versions,
                "names": {"plural": "devices", "kind": "Device"}},
            "status": {"storedVersions": stored},
        }))
        .unwrap()
    }

    #[test]
    fn a_version_that_would_be_dropped_while_objects_may_be_stored_in_it_is_said_with_the_way_out() {
        let ours = definitions().unwrap();
        let ours = ours.iter().find(|one| one.spec.names.kind == "Device").unwrap();
        let said = |stored: &[&str], served: &[&str]| {
            stored_before(&theirs(stored, served), ours).map(|problem| problem.to_string())
        };
        assert_eq!(said(&["v1beta1"], &["v1alpha2", "v1beta1"]), None);
        let both = said(&["v1alpha2", "v1beta1"], &["v1alpha2", "v1beta1"]).unwrap();
        for words in [
            "kubectl get devices.v1alpha2.devices.kubeedge.io -A -o yaml | keadm device convert -f - > devices.yaml",
            r#"kubectl patch crd devices.devices.kubeedge.io --subresource=status --type=merge -p '{"status":{"storedVersions":["v1beta1"]}}'"#,
        ] {
            assert!(both.contains(words), "{both}");
        }
        let only_old = said(&["v1alpha2"], &["v1alpha2"]).unwrap();
        assert!(only_old.contains("kubectl delete crd devices.devices.kubeedge.io"), "{only_old}");
    }
}
