//! `keadm device`: a device's manifests without writing YAML by hand, and its values live.
//!
//! Owns: the words of the command line for devices ([`property`]), the questions ([`ask`]), manifests of older versions ([`convert`]), and
//! the live view ([`watch`]). May call:
//! `cluster`, the Kubernetes API, `proto` for what makes sense. Called by: the command line.

mod ask;
mod convert;
mod new;
mod property;
mod view;
mod watch;

use clap::{Args, Subcommand, ValueEnum};

use crate::layout::Layout;
use crate::problem::Failure;

/// Write the manifests of a device, convert older ones, and watch devices live.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm device new                                     # asks for everything
  keadm device new room-2 --node=edge1 --protocol=mqtt-direct --property=temperature:float,unit=celsius | kubectl apply -f -
  keadm device convert -f old.yaml > new.yaml          # devices.kubeedge.io/v1alpha2 to v1beta1
  keadm device watch")]
pub(crate) struct DeviceArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(Box<new::NewArgs>),
    Convert(convert::ConvertArgs),
    Watch(watch::WatchArgs),
}

/// What manifests are written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Documents one after the other.
    #[default]
    Yaml,
    /// One List.
    Json,
}

impl DeviceArgs {
    pub(crate) async fn run(self, layout: &Layout) -> Result<(), Failure> {
        match self.command {
            Command::New(args) => args.run(),
            Command::Convert(args) => args.run(),
            Command::Watch(args) => Box::pin(args.run(layout)).await,
        }
    }
}
