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

/// Puts our CRDs into a cluster, over KubeEdge's own where those are older. Fields that others set are kept.
pub(crate) async fn apply_crds(client: &Client) -> Result<(), Problem> {
    let broken = |error| Problem::new("a CRD of ours cannot be read").cause(error).next("report this");
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let how = PatchParams::apply("keadm").force();
    for definition in proto::crds::all().map_err(broken)? {
        let name = definition.metadata.name.clone().unwrap_or_default();
        let action = format!("apply CustomResourceDefinition {name}");
        api.patch(&name, &how, &Patch::Apply(&definition))
            .await
            .map_err(|error| api_problem(&action, &error))?;
    }
    Ok(())
}
