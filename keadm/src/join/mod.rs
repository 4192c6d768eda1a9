//! `keadm join`: edgecore on this host, connected to a cloudcore.
//!
//! Owns: the checks ([`preflight`]), the certificate ([`bootstrap`]), edgecore.yaml ([`configure`]), starting and
//! waiting ([`ready`]). May call: `cloud`, `cri`, `service`, `host`, `bundle`, `set`. Called by: the command line.

mod bootstrap;
mod configure;
mod preflight;
mod ready;
mod token;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use proto::config::RuntimeType;

pub(crate) use token::Token;

use crate::{
    bundle, hook,
    layout::Layout,
    problem::{Exit, Failure, Problem},
    progress::Progress,
    service::{Service, Services},
};

/// Install and start edgecore on this host and connect it to a cloudcore.
///
/// Every problem is found and told before anything is changed. A node that has joined before and does not run is
/// started again with its certificate and configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm join --cloudcore-ipport=192.168.1.10:10000 --token=\"$TOKEN\"
  keadm join -e cloud.example:10000 -t \"$TOKEN\" -i kitchen --labels=room=kitchen,floor=1
  keadm join -e 192.168.1.10:10000 -t \"$TOKEN\" --set modules.eventBus.mqttMode=2
  keadm join -e 192.168.1.10:10000 -t \"$TOKEN\" -p unix:///run/crio/crio.sock --cgroupdriver=systemd")]
pub(crate) struct JoinArgs {
    /// Host and websocket port of cloudcore.
    #[arg(short = 'e', long, value_name = "HOST:PORT")]
    cloudcore_ipport: String,
    /// What `keadm gettoken` prints on cloudcore's host.
    #[arg(short, long, default_value = "", hide_default_value = true)]
    token: String,
    /// The node's name (default: this host's name).
    #[arg(short = 'i', long, value_name = "NAME", default_value = "", hide_default_value = true)]
    edgenode_name: String,
    /// Port of cloudcore's certificate endpoint.
    #[arg(short = 's', long, value_name = "PORT", default_value = "10002")]
    certport: String,
    /// How the runtime uses cgroups: cgroupfs or systemd.
    #[arg(long, value_name = "DRIVER", default_value = "cgroupfs")]
    cgroupdriver: String,
    /// The container runtime: docker (Docker Engine) or remote (CRI); its socket tells when it is not given.
    #[arg(long, value_name = "TYPE", default_value = "", hide_default_value = true)]
    runtimetype: RuntimeType,
    /// The container runtime's socket; with --runtimetype=docker by default unix:///var/run/docker.sock.
    #[arg(
        short = 'p',
        long,
        value_name = "SOCKET",
        default_value = "unix:///run/containerd/containerd.sock"
    )]
    remote_runtime_endpoint: String,
    /// Labels for the node.
    #[arg(short, long, value_name = "KEY=VALUE,…", value_delimiter = ',')]
    labels: Vec<String>,
    /// The protocol to cloudcore; KubeEdge's quic is not supported.
    #[arg(long, value_name = "PROTOCOL", default_value = "websocket")]
    hub_protocol: String,
    /// A value for edgecore.yaml, for example modules.edgeStream.enable=true; several are joined by commas.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// A program to run before anything is changed; if it fails, nothing is.
    #[arg(long, value_name = "FILE")]
    pre_run: Option<PathBuf>,
    /// A program to run at the end.
    #[arg(long, value_name = "FILE")]
    post_run: Option<PathBuf>,
    /// How long to wait until the node is registered, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// No effect: keadm installs the edgecore that it came with.
    #[arg(long, hide_short_help = true)]
    kubeedge_version: Option<String>,
    /// No effect: no image is pulled.
    #[arg(long, hide_short_help = true)]
    image_repository: Option<String>,
    /// No effect, as in KubeEdge.
    #[arg(long = "certPath", hide_short_help = true)]
    cert_path: Option<String>,
    /// No effect, as in KubeEdge.
    #[arg(long, hide_short_help = true)]
    tarballpath: Option<String>,
}

impl JoinArgs {
    pub(crate) async fn run(self, layout: &Layout) -> Result<(), Failure> {
        let progress = Progress::begin();
        self.warn_of_unused(&progress);
        progress.step("checking this host, the runtime and cloudcore");
        let found = Box::pin(preflight::check(&self, layout)).await;
        for warning in &found.warnings {
            progress.warn(warning);
        }
        let plan = match found.plan {
            Some(plan) if found.problems.is_empty() => plan,
            _ => return Failure::preflight("this host cannot join yet", found.problems),
        };
        if let Some(program) = &self.pre_run {
            hook::run(program, "--pre-run")
                .await
                .map_err(|problem| problem.fail("nothing was changed", Exit::Failed))?;
        }
        self.install(layout, &plan, found.ca.as_ref(), &progress)
            .await
            .map_err(|problem| problem.fail(format!("{} did not join", plan.node), Exit::Failed))?;
        ready::wait(layout, &plan, Duration::from_secs(self.timeout), &progress).await?;
        progress.step("Install Complete!");
        report(layout, &plan);
        if let Some(program) = &self.post_run
            && let Err(problem) = hook::run(program, "--post-run").await
        {
            progress.warn(problem.to_string().trim_end());
        }
        Ok(())
    }

    async fn install(
        &self,
        layout: &Layout,
        plan: &configure::Plan,
        ca: Option<&rustls::pki_types::CertificateDer<'static>>,
        progress: &Progress,
    ) -> Result<(), Problem> {
        match (ca, &plan.token) {
            (Some(ca), Some(token)) => {
                progress.step("fetching a certificate for this node");
                let issued = bootstrap::request(&plan.https, ca, token, &plan.node).await?;
                bootstrap::store(layout, ca, &issued)?;
                crate::document::write(&layout.config("edgecore"), plan.text.as_bytes(), 0o644)?;
            }
            _ => progress
                .step(format!("{} joined before: keeping its certificate and configuration", plan.node)),
        }
        let program = bundle::install("edgecore", layout)?;
        let services = Services::of(layout);
        progress.step(format!("starting {}", services.describe("edgecore")));
        let config = layout.config("edgecore").display().to_string();
        let service =
            Service { name: "edgecore".to_owned(), program, arguments: vec!["--config".to_owned(), config] };
        services.start(&service).await
    }

    fn warn_of_unused(&self, progress: &Progress) {
        for (flag, given) in [
            ("--kubeedge-version", &self.kubeedge_version),
            ("--image-repository", &self.image_repository),
            ("--certPath", &self.cert_path),
            ("--tarballpath", &self.tarballpath),
        ] {
            if given.is_some() {
                progress.warn(format!("{flag} has no effect: the edgecore beside keadm is installed"));
            }
        }
    }
}

fn report(layout: &Layout, plan: &configure::Plan) {
    let services = Services::of(layout);
    println!("Node {} is connected to {}.", plan.node, plan.hub);
    println!("  runs as  {}", services.describe("edgecore"));
    println!("  log      {}", services.log_hint("edgecore"));
    println!("  config   {}", layout.config("edgecore").display());
    if let Some(broker) = plan.broker() {
        println!("  devices  publish to mqtt://{broker}");
    }
    println!(
        "\nOn cloudcore's host:\n  kubectl --kubeconfig /etc/kubeedge/admin.conf get node {}",
        plan.node
    );
    println!("To take this node down again:\n  keadm reset edge");
}
