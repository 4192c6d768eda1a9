//! `keadm restore`: puts a saved cloud back in its place.
//!
//! Owns: the checks ([`preflight`]) and the exchange of what is there for what was saved ([`place`]). May call: `backup`, `service`,
//! `host`. Called by: the command line.

mod place;
mod preflight;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use proto::config::{CloudCore, ConfigFile};
use serde::Serialize;

use crate::{
    backup::{
        archive::{self, Manifest},
        contents::{CONFIG, Cloud},
    },
    layout::Layout,
    output::{self, Output},
    problem::{Exit, Failure, Problem},
    progress::Progress,
};

/// Put a saved cloud back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm restore cloud /backup/cloud.tar.gz
  keadm restore cloud /backup/cloud.tar.gz --force     # moves what is there aside")]
pub(crate) struct RestoreArgs {
    #[command(subcommand)]
    side: Side,
}

#[derive(Debug, Subcommand)]
enum Side {
    Cloud(CloudArgs),
}

/// Put cloudcore's objects, keys and configuration back as they were saved, on this host or on another one.
///
/// cloudcore must not run. Nodes and kubeconfigs of the saved cloud work with the restored one: it has the same keys. Its
/// resourceVersions go on far ahead of all that were given out, so clients that saw what is lost now list again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm restore cloud /backup/cloud.tar.gz && keadm init
  systemctl stop cloudcore && keadm restore cloud cloud.tar.gz --force && systemctl start cloudcore
  keadm restore cloud cloud.tar.gz -o json")]
struct CloudArgs {
    /// The backup, as `keadm backup cloud` wrote it.
    file: PathBuf,
    /// Where cloudcore's configuration is put (default: /etc/kubeedge/config/cloudcore.yaml). The other files go where that one says.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on although there is a cloud already: its files are kept under other names beside the restored ones.
    #[arg(long)]
    force: bool,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// What `-o json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done<'a> {
    config: &'a PathBuf,
    data_dir: &'a PathBuf,
    kept_aside: Vec<PathBuf>,
    manifest: &'a Manifest,
}

impl RestoreArgs {
    pub(crate) async fn run(self, layout: &Layout) -> Result<(), Failure> {
        let Side::Cloud(args) = self.side;
        let progress = Progress::begin();
        progress.step(format!("checking {}", args.file.display()));
        let (manifest, cloud) =
            args.read(layout).map_err(|problem| problem.fail("nothing was changed", Exit::Preflight))?;
        let problems = preflight::check(&cloud, layout, args.force).await;
        Failure::preflight("the cloud cannot be restored here", problems)?;
        progress.step(format!("restoring {}", cloud.data_dir.display()));
        let kept_aside = place::exchange(&args.file, &cloud)
            .map_err(|problem| problem.fail("the cloud was not restored", Exit::Failed))?;
        args.report(&cloud, &manifest, kept_aside)
    }
}

impl CloudArgs {
    /// Reads the whole backup once before anything is changed.
    fn read(&self, layout: &Layout) -> Result<(Manifest, Cloud), Problem> {
        let path = self.config.clone().unwrap_or_else(|| layout.config("cloudcore"));
        let text = std::cell::RefCell::new(Vec::new());
        let manifest =
            archive::read(&self.file, |entry| Ok(Collect { into: (entry.name == CONFIG).then_some(&text) }))?;
        let text = text.into_inner();
        let config = match text.is_empty() {
            // A cloud that ran with the defaults alone.
            true => CloudCore::default(),
            false => {
                let read = CloudCore::parse(&String::from_utf8_lossy(&text), &path);
                let unusable = |error| {
                    Problem::new("the configuration in the backup cannot be used")
                        .cause(error)
                        .next("use the keadm that made the backup")
                };
                read.map_err(unusable)?.0
            }
        };
        let cloud = Cloud::of(&config, &path)?;
        for entry in &manifest.files {
            if cloud.place(&entry.name).is_none() {
                return Err(Problem::new(format!(
                    "{} holds what does not belong in a backup",
                    self.file.display()
                ))
                .cause(format!("there is no place for {}", entry.name))
                .next("use another backup"));
            }
        }
        Ok((manifest, cloud))
    }

    fn report(&self, cloud: &Cloud, manifest: &Manifest, kept_aside: Vec<PathBuf>) -> Result<(), Failure> {
        if self.output == Output::Json {
            return output::json(&Done {
                config: &cloud.config,
                data_dir: &cloud.data_dir,
                kept_aside,
                manifest,
            });
        }
        println!("The cloud of {} (revision {}) is restored", manifest.created, manifest.revision);
        println!("  config      {}", cloud.config.display());
        println!("  state       {}", cloud.data_dir.display());
        println!("  kubeconfig  {}", cloud.admin_kubeconfig.display());
        for path in kept_aside {
            println!("  kept aside  {}", path.display());
        }
        println!(
            "\nStart it with one of:\n  systemctl start cloudcore\n  keadm init        # installs what is missing, too"
        );
        Ok(())
    }
}

/// Keeps the content of the one small file that is needed, and drops the others.
struct Collect<'a> {
    into: Option<&'a std::cell::RefCell<Vec<u8>>>,
}

/// No configuration is larger.
const CONFIG_MAX: usize = 1 << 20;

impl std::io::Write for Collect<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(into) = self.into {
            let mut into = into.borrow_mut();
            if into.len() + bytes.len() > CONFIG_MAX {
                return Err(std::io::Error::other("the configuration is too large"));
            }
            into.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
