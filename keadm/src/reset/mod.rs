//! Takes an installation down again: services, pods, mounts, files.
//!
//! Owns: what belongs to a side ([`cloud`], [`edge`]) and removing it ([`removal`]). May call: `service`, `cri`,
//! `host`, `cluster`. Called by: the command line, and `join` to take back what a failed join made.

mod cloud;
mod edge;
mod removal;

use std::{
    io::{BufRead, IsTerminal, Write},
    path::PathBuf,
};

use clap::{Args, ValueEnum};

pub(crate) use removal::Removal;

use crate::{
    hook,
    layout::Layout,
    problem::{Exit, Failure, Problem},
    progress::Progress,
};

/// Stop cloudcore or edgecore on this host and remove what was installed.
///
/// Without a side, both are taken down. Whatever is removed is listed first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm reset edge            # asks before it removes anything
  keadm reset cloud --force
  keadm reset --force         # both sides, as far as they are here")]
pub(crate) struct ResetArgs {
    /// The side to take down; both when it is left out.
    side: Option<Side>,
    /// Do not ask.
    #[arg(long)]
    force: bool,
    /// With a cluster: the administrator's kubeconfig, to remove the namespace kubeedge (default: the one that
    /// cloudcore uses).
    #[arg(long, value_name = "FILE")]
    kube_config: Option<PathBuf>,
    /// With a cluster: keep the namespace kubeedge, so that nodes stay joined.
    #[arg(long)]
    keep_ca: bool,
    /// The runtime whose pods are stopped (default: the one in edgecore.yaml).
    #[arg(short = 'p', long, value_name = "SOCKET")]
    remote_runtime_endpoint: Option<String>,
    /// A program to run before anything is removed; if it fails, nothing is.
    #[arg(long, value_name = "FILE")]
    pre_run: Option<PathBuf>,
    /// A program to run at the end.
    #[arg(long, value_name = "FILE")]
    post_run: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Side {
    /// edgecore, its pods, mounts and files.
    Edge,
    /// cloudcore, and the embedded control plane with all its objects and the CA.
    Cloud,
}

impl ResetArgs {
    pub(crate) async fn run(self, layout: &Layout) -> Result<(), Failure> {
        let progress = Progress::begin();
        let wanted = |side| self.side.is_none_or(|only| only == side);
        let edge = if wanted(Side::Edge) {
            edge::find(layout, self.remote_runtime_endpoint.as_deref()).await
        } else {
            None
        };
        let cloud = if wanted(Side::Cloud) {
            cloud::find(layout, self.kube_config.clone(), self.keep_ca)
        } else {
            None
        };
        if edge.is_none() && cloud.is_none() {
            println!("None of KubeEdge components are running in this host, exit");
            return Ok(());
        }
        if !nix::unistd::geteuid().is_root() && layout.is_host() {
            return Err(not_root().fail("nothing was removed", Exit::Preflight));
        }
        println!("[reset] This will be removed:");
        for line in edge.iter().flat_map(edge::Edge::lines).chain(cloud.iter().flat_map(cloud::Cloud::lines))
        {
            println!("[reset]   {line}");
        }
        if !self.force {
            confirm()?;
        }
        if let Some(program) = &self.pre_run {
            hook::run(program, "--pre-run")
                .await
                .map_err(|problem| problem.fail("nothing was removed", Exit::Failed))?;
        }
        let mut problems = Vec::new();
        if let Some(edge) = edge {
            problems.extend(edge.remove(layout, &progress).await);
            println!("{}", outcome(&problems, "reset edge node successfully!"));
        }
        if let Some(cloud) = cloud {
            let before = problems.len();
            problems.extend(cloud.remove(layout, &progress).await);
            println!("{}", outcome(&problems[before..], "reset cloud successfully!"));
        }
        if let Some(program) = &self.post_run
            && let Err(problem) = hook::run(program, "--post-run").await
        {
            progress.warn(problem.to_string().trim_end());
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Failure::new("not everything could be removed", problems, Exit::Failed))
        }
    }
}

fn outcome<'a>(problems: &[Problem], done: &'a str) -> &'a str {
    if problems.is_empty() { done } else { "reset ended with problems, see below" }
}

/// Everything that changes the host needs root.
pub(crate) fn not_root() -> Problem {
    Problem::new("this needs root").cause("it installs or removes system services").next("run it with sudo")
}

fn confirm() -> Result<(), Failure> {
    print!("[reset] Are you sure you want to proceed? [y/N]: ");
    std::io::stdout().flush().ok();
    let mut answer = String::new();
    let input = std::io::stdin();
    let told = input.lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y");
    if told {
        return Ok(());
    }
    let cause = if input.is_terminal() { "you did not answer y" } else { "nobody is there to answer" };
    Err(Problem::new("aborted reset operation")
        .cause(cause)
        .next("add --force to go on without asking")
        .fail("nothing was removed", Exit::Aborted))
}
