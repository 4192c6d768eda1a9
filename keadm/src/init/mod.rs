//! `keadm init`: cloudcore on this host, beside its own control plane or an existing cluster.
//!
//! Owns: the checks ([`preflight`]), cloudcore.yaml ([`configure`]), starting and waiting ([`ready`]).
//! May call: `service`, `cluster`, `host`, `bundle`, `set`. Called by: the command line.

mod configure;
mod preflight;
mod ready;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use proto::config::HostPort;
use serde::Serialize;

use crate::{
    bundle, cluster,
    layout::Layout,
    output::{self, Output},
    problem::{Exit, Failure, Problem},
    progress::Progress,
    service::{Service, Services},
};

/// Install and start cloudcore on this host.
///
/// Without --kube-config, cloudcore brings its own Kubernetes API, which kubectl uses at port 6443. With it, the
/// CRDs are applied to that cluster and cloudcore runs on this host as a service against it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm init
  keadm init --advertise-address=203.0.113.7,10.0.0.5
  keadm init --set modules.cloudHub.websocket.port=11000
  keadm init --kube-config=/root/.kube/config
  keadm init --dry-run        # shows cloudcore.yaml, changes nothing")]
pub(crate) struct InitArgs {
    /// Addresses and names that edges reach this host at, joined by commas; they go into cloudcore's certificate.
    #[arg(long, value_name = "ADDRESS,…", value_delimiter = ',')]
    advertise_address: Vec<String>,
    /// The administrator's kubeconfig of an existing cluster.
    #[arg(long, value_name = "FILE")]
    kube_config: Option<PathBuf>,
    /// A value for cloudcore.yaml, for example modules.cloudHub.nodeLimit=50; KubeEdge's Helm form
    /// cloudCore.modules.… is understood too.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Show cloudcore.yaml and what would be done; change nothing.
    #[arg(short, long)]
    dry_run: bool,
    /// Go on although cloudcore runs already: it is restarted with the new configuration.
    #[arg(long)]
    force: bool,
    /// How long to wait until cloudcore is ready, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    unused: Unused,
}

/// KubeEdge's flags that have no effect here.
#[derive(Debug, Args)]
struct Unused {
    /// No effect: keadm installs the cloudcore that it came with.
    #[arg(long, hide_short_help = true)]
    kubeedge_version: Option<String>,
    /// No effect: there is no chart.
    #[arg(long, hide_short_help = true)]
    profile: Option<String>,
    /// No effect, as in KubeEdge.
    #[arg(long, hide_short_help = true)]
    manifests: Option<String>,
    /// No effect, as in KubeEdge.
    #[arg(short, long, hide_short_help = true)]
    files: Option<String>,
    /// No effect: there is no chart.
    #[arg(long, hide_short_help = true)]
    external_helm_root: Option<String>,
    /// No effect: no image is pulled.
    #[arg(long, hide_short_help = true)]
    image_repository: Option<String>,
}

impl Unused {
    fn warn(&self, progress: &Progress) {
        for (flag, given) in [
            ("--kubeedge-version", &self.kubeedge_version),
            ("--profile", &self.profile),
            ("--manifests", &self.manifests),
            ("--files", &self.files),
            ("--external-helm-root", &self.external_helm_root),
            ("--image-repository", &self.image_repository),
        ] {
            if given.is_some() {
                progress.warn(format!(
                    "{flag} has no effect: cloudcore is installed as a program, not from a chart"
                ));
            }
        }
    }
}

/// What `-o json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    kubeconfig: PathBuf,
    cloudcore_ipport: String,
    certport: u16,
    token: String,
    join_command: String,
}

const NOT_CHANGED: &str = "cloudcore cannot be installed yet";

impl InitArgs {
    pub(crate) async fn run(self, layout: &Layout) -> Result<(), Failure> {
        let progress = Progress::begin();
        self.unused.warn(&progress);
        let plan = configure::plan(&self, layout).map_err(|problems| {
            Failure::new("cloudcore.yaml cannot be made: nothing was changed", problems, Exit::Preflight)
        })?;
        for warning in &plan.warnings {
            progress.warn(warning);
        }
        if self.dry_run {
            print!("{}", plan.text);
            progress.step(format!(
                "would write this to {} and start cloudcore",
                layout.config("cloudcore").display()
            ));
            return Ok(());
        }
        progress.step("checking this host");
        Failure::preflight(NOT_CHANGED, preflight::check(&self, layout, &plan).await)?;
        self.install(layout, &plan, &progress)
            .await
            .map_err(|problem| problem.fail("cloudcore was not installed", Exit::Failed))?;
        let ready = ready::wait(layout, &plan, Duration::from_secs(self.timeout), &progress).await?;
        self.report(layout, &plan, &ready)
    }

    async fn install(
        &self,
        layout: &Layout,
        plan: &configure::Plan,
        progress: &Progress,
    ) -> Result<(), Problem> {
        let services = Services::of(layout);
        if self.force {
            services.stop("cloudcore").await?;
        }
        if let Some(kubeconfig) = &self.kube_config {
            progress.step("applying CRDs to the cluster");
            cluster::apply_crds(&cluster::connect(kubeconfig).await?).await?;
        }
        configure::write(layout, plan, self.kube_config.as_deref())?;
        let program = bundle::install("cloudcore", layout)?;
        progress.step(format!("starting {}", services.describe("cloudcore")));
        let config = layout.config("cloudcore").display().to_string();
        let service =
            Service { name: "cloudcore".to_owned(), program, arguments: vec!["--config".to_owned(), config] };
        services.start(&service).await
    }

    fn report(&self, layout: &Layout, plan: &configure::Plan, ready: &ready::Ready) -> Result<(), Failure> {
        let hub = plan.hub();
        let port = if plan.https_port() == 10002 {
            String::new()
        } else {
            format!(" --certport={}", plan.https_port())
        };
        let join_command = format!("keadm join --cloudcore-ipport={hub}{port} --token={}", ready.token);
        let kubeconfig = self.kube_config.clone().unwrap_or_else(|| layout.admin_kubeconfig());
        if self.output == Output::Json {
            return output::json(&Done {
                kubeconfig,
                cloudcore_ipport: hub.to_string(),
                certport: plan.https_port(),
                token: ready.token.clone(),
                join_command,
            });
        }
        let services = Services::of(layout);
        println!("CLOUDCORE started");
        println!("  runs as     {}", services.describe("cloudcore"));
        println!("  log         {}", services.log_hint("cloudcore"));
        println!("  config      {}", layout.config("cloudcore").display());
        match plan.api_port() {
            Some(port) => println!("  Kubernetes  its own, at https://{}:{port}", plan.advertised()),
            None => println!("  Kubernetes  the cluster of {}", kubeconfig.display()),
        }
        println!(
            "  edges       wss://{hub}, https://{}",
            HostPort::new(plan.advertised(), plan.https_port())
        );
        println!("\nLook around:\n  kubectl --kubeconfig {} get nodes", kubeconfig.display());
        println!(
            "\nJoin an edge node, as root on that machine (the token is valid until {}):",
            ready.valid_until
        );
        println!("  {join_command}");
        Ok(())
    }
}
