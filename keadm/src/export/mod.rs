//! `keadm export`: the objects of a cluster as manifests that another cluster takes.
//!
//! Owns: which kinds and objects are the user's ([`kinds`], [`choice`]), what of them is the server's ([`strip`]), and writing them
//! ([`write`]). May call: `cluster`, the Kubernetes API. Called by: the command line; `device convert` for what of metadata is the server's.

mod choice;
mod kinds;
mod strip;
mod write;

use std::path::{Path, PathBuf};

use clap::Args;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
};
use serde_json::Value;

use crate::{
    cluster,
    layout::Layout,
    output::Output,
    problem::{Exit, Failure, Problem},
    progress::Progress,
};
use kinds::Kind;
pub(crate) use strip::strip_metadata;

/// Objects of one answer; a large collection comes in several.
const PAGE: u32 = 500;

/// Write the objects of a cluster as manifests for another cluster.
///
/// What the server and the controllers make themselves is left out: uids, status, objects that have a controller, default roles. The
/// manifests come in the order in which they can be applied.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm export > cluster.yaml
  keadm export -n shop --kinds=deployments,services,configmaps
  keadm export --output-dir=cluster --with-secrets    # one file for each kind
  kubectl --kubeconfig other.conf apply -f cluster/")]
pub(crate) struct ExportArgs {
    /// Only objects of this namespace, without what belongs to no namespace.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Only these kinds, for example deployments,configmaps,devices.devices.kubeedge.io.
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Write one file for each kind into this folder, which must be empty; `-` is standard output.
    #[arg(long, value_name = "DIR", default_value = "-")]
    output_dir: PathBuf,
    /// Secrets too, among them the keys of the hub's CA, with which the nodes' certificates stay valid.
    #[arg(long)]
    with_secrets: bool,
    /// The administrator's kubeconfig (default: $KUBECONFIG, /etc/kubeedge/admin.conf, /root/.kube/config).
    #[arg(long, value_name = "FILE")]
    kube_config: Option<PathBuf>,
    /// The form of the result: manifests as YAML or as one JSON list; with a folder, a report of what was written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// All exported objects of one kind, ready to be applied.
#[derive(Debug)]
struct Exported {
    kind: Kind,
    objects: Vec<Value>,
}

impl ExportArgs {
    pub(crate) async fn run(self, layout: &Layout) -> Result<(), Failure> {
        let progress = Progress::begin();
        let dir = (self.output_dir != Path::new("-")).then_some(self.output_dir.as_path());
        if let Some(dir) = dir {
            write::check(dir).map_err(|problem| problem.fail("nothing was exported", Exit::Preflight))?;
        }
        let failed = |problem: Problem| problem.fail("nothing was exported", Exit::Failed);
        let client = cluster::connect(&cluster::kubeconfig(self.kube_config.as_deref(), layout))
            .await
            .map_err(failed)?;
        let kinds = kinds::served(&client).await.map_err(failed)?;
        let kinds = kinds::select(kinds, &self.kinds)
            .map_err(|problems| Failure::new("nothing was exported", problems, Exit::Usage))?;
        let mut all = Vec::new();
        for kind in kinds {
            if self.namespace.is_some() && !kind.namespaced {
                continue;
            }
            let objects = self.objects(&client, &kind).await.map_err(failed)?;
            if kind.is_secret() && !self.with_secrets && !objects.is_empty() {
                progress
                    .warn(format!("{} Secrets are left out: add --with-secrets to have them", objects.len()));
            } else if !objects.is_empty() {
                all.push(Exported { kind, objects });
            }
        }
        match dir {
            Some(dir) => write::files(dir, &all, self.output),
            None => write::stream(&all, self.output),
        }
    }

    /// The user's objects of a kind, by namespace and name.
    async fn objects(&self, client: &Client, kind: &Kind) -> Result<Vec<Value>, Problem> {
        let api: Api<DynamicObject> = match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind.resource),
            None => Api::all_with(client.clone(), &kind.resource),
        };
        let mut params = ListParams::default().limit(PAGE);
        let mut objects = Vec::new();
        loop {
            let action = format!("list {}", kind.resource.plural);
            let list = api.list(&params).await.map_err(|error| cluster::api_problem(&action, &error))?;
            for object in list.items {
                let mut value = serde_json::to_value(object).unwrap_or_default();
                if choice::is_users(kind, &value) {
                    strip::strip(kind, &mut value);
                    objects.push(value);
                }
            }
            match list.metadata.continue_ {
                Some(token) if !token.is_empty() => params.continue_token = Some(token),
                _ => return Ok(objects),
            }
        }
    }
}
