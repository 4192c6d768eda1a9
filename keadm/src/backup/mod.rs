//! `keadm backup`: everything that makes this cloud what it is, in one file.
//!
//! Owns: what belongs to a cloud ([`contents`]), the archive and its manifest ([`archive`]), the snapshot of the store, which the
//! running cloudcore makes ([`snapshot`]). May call: `cluster`, `document`. Called by: the command line and `restore`.

pub(crate) mod archive;
pub(crate) mod contents;
mod snapshot;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;

use crate::{
    layout::Layout,
    output::{self, Output},
    problem::{Exit, Failure, Problem, file_problem},
    progress::Progress,
};
use archive::Manifest;
use contents::Cloud;

/// Save a cloud into one file, while it runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm backup cloud                           # skerry-cloud-<time>.tar.gz in this folder
  keadm backup cloud --to=/backup/cloud.tar.gz
  keadm backup cloud --verify=/backup/cloud.tar.gz
  keadm restore cloud /backup/cloud.tar.gz     # puts it back")]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    side: Side,
}

#[derive(Debug, Subcommand)]
enum Side {
    Cloud(CloudArgs),
}

/// Save cloudcore's objects, its keys and its configuration.
///
/// The objects are those of one moment; nobody who reads or writes meanwhile is held up. The file holds every Secret and the keys of
/// both CAs, so it is readable for its owner only; whoever has it can become this cloud.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm backup cloud
  keadm backup cloud --to=/backup/cloud.tar.gz -o json
  keadm backup cloud --verify=/backup/cloud.tar.gz")]
struct CloudArgs {
    /// The file to write, which must not exist (default: skerry-cloud-<time>.tar.gz in the current folder).
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Check an existing backup instead: that it is complete and undamaged, and that this release can restore it.
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    verify: Option<PathBuf>,
    /// cloudcore's configuration (default: /etc/kubeedge/config/cloudcore.yaml).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl BackupArgs {
    pub(crate) async fn run(self, layout: &Layout) -> Result<(), Failure> {
        let Side::Cloud(args) = self.side;
        match &args.verify {
            Some(file) => {
                let manifest = archive::verify(file)
                    .map_err(|problem| problem.fail("the backup cannot be used", Exit::Failed))?;
                report(args.output, "is complete and undamaged", file, &manifest)
            }
            None => args.save(layout).await,
        }
    }
}

impl CloudArgs {
    async fn save(&self, layout: &Layout) -> Result<(), Failure> {
        let progress = Progress::begin();
        let config = self.config.clone().unwrap_or_else(|| layout.config("cloudcore"));
        let to = self.to.clone().unwrap_or_else(|| {
            PathBuf::from(format!("skerry-cloud-{}.tar.gz", Timestamp::now().strftime("%Y%m%dT%H%M%SZ")))
        });
        let cloud = Cloud::configured(&config).and_then(|cloud| {
            free(&to)?;
            Ok(cloud)
        });
        let cloud = cloud.map_err(|problem| problem.fail("nothing was saved", Exit::Preflight))?;
        let manifest = save(&cloud, &to, &progress)
            .await
            .map_err(|problem| problem.fail("nothing was saved", Exit::Failed))?;
        report(self.output, "was written and read back", &to, &manifest)
    }
}

fn free(to: &Path) -> Result<(), Problem> {
    if to.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Problem::new(format!("{} exists", to.display()))
        .cause("a backup never replaces a file, which could be the last good backup")
        .next("name another file with --to, or move this one away"))
}

async fn save(cloud: &Cloud, to: &Path, progress: &Progress) -> Result<Manifest, Problem> {
    let half = Half::beside(to)?;
    progress.step("taking a snapshot of the objects");
    let snapshot = snapshot::take(&cloud.admin_kubeconfig, &half.0.with_extension("db")).await?;
    progress.step(format!("writing {}", to.display()));
    archive::write(&half.0, cloud, &snapshot)?;
    archive::verify(&half.0)?;
    half.finish(to)?;
    archive::verify(to)
}

/// A file that is removed if it does not get its name.
struct Half(PathBuf);

impl Half {
    fn beside(to: &Path) -> Result<Self, Problem> {
        let mut name = to.as_os_str().to_owned();
        name.push(format!(".part-{}", std::process::id()));
        let half = Self(name.into());
        if let Some(dir) = to.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()) {
            return Err(Problem::new(format!("cannot write {}", to.display()))
                .cause(format!("there is no folder {}", dir.display()))
                .next(format!("mkdir -p {}", dir.display())));
        }
        Ok(half)
    }

    fn finish(self, to: &Path) -> Result<(), Problem> {
        std::fs::rename(&self.0, to).map_err(|error| file_problem("write", to, &error))
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // Usually it is not there any more.
        std::fs::remove_file(&self.0).ok();
    }
}

fn report(output: Output, done: &str, file: &Path, manifest: &Manifest) -> Result<(), Failure> {
    if output == Output::Json {
        return output::json(&serde_json::json!({
            "file": file, "bytes": file.metadata().map(|facts| facts.len()).unwrap_or_default(), "manifest": manifest,
        }));
    }
    println!("{} {done}", file.display());
    println!("  taken     {} at revision {}", manifest.created, manifest.revision);
    println!("  release   {} (schema {})", manifest.release, manifest.schema);
    for entry in &manifest.files {
        println!("  {:>9}   {}", size(entry.bytes), entry.name);
    }
    println!("It holds every Secret and the keys of this cloud: keep it where only you can read it.");
    println!("Put it back with:\n  keadm restore cloud {}", file.display());
    Ok(())
}

fn size(bytes: u64) -> String {
    if bytes >= 1_000_000 {
        format!("{:.1} MB", bytes as f64 / 1e6)
    } else {
        format!("{:.1} kB", bytes as f64 / 1e3)
    }
}
