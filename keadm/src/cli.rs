use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{
    backup::BackupArgs, completion::CompletionArgs, device::DeviceArgs, export::ExportArgs,
    gettoken::GetTokenArgs, init::InitArgs, join::JoinArgs, layout::Layout, problem::Failure,
    reset::ResetArgs, restore::RestoreArgs, service::SuperviseArgs, version::VersionArgs,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the command was begun but could not be completed
  2  the command line does not make sense
  3  a check found problems; nothing was changed
  4  everything was set up, but did not become ready in time
  5  you answered no

A cloud and an edge on one machine:
  keadm init
  keadm join --cloudcore-ipport=127.0.0.1:10000 --token=\"$(keadm gettoken)\" --edgenode-name=edge1
  kubectl --kubeconfig /etc/kubeedge/admin.conf get nodes";

/// Sets up clouds and edges: cloudcore beside a Kubernetes API (its own, or a cluster's), edgecore on every edge
/// machine. Speaks KubeEdge's commands and flags.
#[derive(Debug, Parser)]
#[command(name = "keadm", version, after_help = EXIT_CODES, subcommand_required = true)]
pub struct Cli {
    /// Everything is put below this folder instead of /; for tests.
    #[arg(long, global = true, hide = true, env = "KEADM_ROOT", default_value = "/")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(Box<InitArgs>),
    Join(Box<JoinArgs>),
    Reset(ResetArgs),
    #[command(name = "gettoken")]
    GetToken(GetTokenArgs),
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Export(ExportArgs),
    Device(DeviceArgs),
    Version(VersionArgs),
    Completion(CompletionArgs),
    #[command(hide = true)]
    Supervise(SuperviseArgs),
}

impl Cli {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let layout = Layout::new(self.root);
        match self.command {
            Command::Init(args) => args.run(&layout).await,
            Command::Join(args) => Box::pin(args.run(&layout)).await,
            Command::Reset(args) => args.run(&layout).await,
            Command::GetToken(args) => args.run(&layout).await,
            Command::Backup(args) => Box::pin(args.run(&layout)).await,
            Command::Restore(args) => args.run(&layout).await,
            Command::Export(args) => Box::pin(args.run(&layout)).await,
            Command::Device(args) => Box::pin(args.run(&layout)).await,
            Command::Version(args) => args.run(),
            Command::Completion(args) => {
                args.run();
                Ok(())
            }
            Command::Supervise(args) => args.run().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_visible_command_shows_an_example() {
        Cli::command().debug_assert();
        let mut cli = Cli::command();
        cli.build();
        for command in
            cli.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
        {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{} has no example:\n{help}", command.get_name());
        }
    }

    #[test]
    fn kubeedges_flags_are_taken_as_they_are() {
        for line in [
            "keadm init --advertise-address=10.0.0.1 --kubeedge-version=v1.23.1 --profile version=v1.23.1 --set a.b=c -d",
            "keadm join -e 10.0.0.1:10000 -t x -i edge1 -s 10002 --cgroupdriver systemd -p unix:///x -l a=b,c=d \
             --hub-protocol websocket --set a=b --certPath /x --image-repository r --pre-run /x --post-run /y",
            "keadm reset edge --force --remote-runtime-endpoint unix:///x",
            "keadm reset cloud --force --kube-config /x",
            "keadm reset --force",
            "keadm gettoken --kube-config /x",
            "keadm version -o short",
        ] {
            Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}
