use std::path::PathBuf;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::DeleteParams};

use super::Removal;
use crate::{
    cluster, document,
    host::process,
    layout::Layout,
    problem::Problem,
    progress::Progress,
    service::{Services, Status},
};

/// The cloud side of this host, as it was found.
#[derive(Debug)]
pub(super) struct Cloud {
    /// The cluster that cloudcore serves, if it is not its own.
    cluster: Option<PathBuf>,
    keep_ca: bool,
    files: Removal,
}

/// Finds out what the cloud side consists of; `None` when there is nothing of it.
pub(super) fn find(layout: &Layout, kubeconfig: Option<PathBuf>, keep_ca: bool) -> Option<Cloud> {
    let config = document::read(&layout.config("cloudcore")).ok().flatten().unwrap_or_default();
    let configured = document::text(&config, "kubeAPIConfig.kubeConfig").map(PathBuf::from);
    let files = files(layout);
    let stray =
        layout.is_host() && !process::running("cloudcore", Some(&layout.config("cloudcore"))).is_empty();
    if !stray && files.present().next().is_none() {
        return None;
    }
    Some(Cloud { cluster: configured.map(|own| kubeconfig.unwrap_or(own)), keep_ca, files })
}

fn files(layout: &Layout) -> Removal {
    Removal::default()
        .file(layout.config("cloudcore"))
        .file(layout.admin_kubeconfig())
        .tree(layout.cloud_state())
        .file(layout.binary("cloudcore"))
        .files_like(&layout.log_dir(), "cloudcore.log")
        .files_like(&layout.run_dir(), "cloudcore")
        .shared(layout.etc().join("config"))
        .shared(layout.etc())
        .shared(layout.log_dir())
        .shared(layout.run_dir())
}

impl Cloud {
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        let loss = match (&self.cluster, self.keep_ca) {
            (None, _) => Some(
                "the CA and every object of the embedded control plane: all nodes must join anew".to_owned(),
            ),
            (Some(_), false) => Some(
                "namespace kubeedge with the CA: all nodes must join anew (keep it: --keep-ca)".to_owned(),
            ),
            (Some(_), true) => None,
        };
        loss.into_iter().chain(self.files.present().map(|path| path.display().to_string()))
    }

    pub(super) async fn remove(self, layout: &Layout, progress: &Progress) -> Vec<Problem> {
        let mut problems = Vec::new();
        let services = Services::of(layout);
        if !matches!(services.status("cloudcore").await, Status::Stopped) {
            progress.step("stopping cloudcore");
        }
        problems.extend(services.stop("cloudcore").await.err());
        if layout.is_host() {
            for stray in process::running("cloudcore", Some(&layout.config("cloudcore"))) {
                progress.step(format!("stopping {stray}, which nobody supervises"));
                stray.id.end(std::time::Duration::from_secs(20)).await.ok();
            }
        }
        if let (Some(kubeconfig), false) = (&self.cluster, self.keep_ca) {
            progress.step("removing namespace kubeedge from the cluster");
            problems.extend(remove_namespace(kubeconfig).await.err());
        }
        progress.step("removing files");
        problems.extend(self.files.run());
        problems
    }
}

async fn remove_namespace(kubeconfig: &std::path::Path) -> Result<(), Problem> {
    let namespaces: Api<Namespace> = Api::all(cluster::connect(kubeconfig).await?);
    match namespaces.delete(cluster::NAMESPACE, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(cluster::api_problem("remove namespace kubeedge", &error)),
    }
}
