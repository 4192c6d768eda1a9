use clap::Args;
use serde::Serialize;

use crate::{
    output,
    problem::{Exit, Failure, Problem},
};

/// Print the version of this keadm.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm version
  keadm version -o short
  keadm version -o json")]
pub(crate) struct VersionArgs {
    /// short, json or yaml.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

/// KubeEdge's keys, so that scripts find what they look for; those that only a Go program has are empty.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    major: &'static str,
    minor: &'static str,
    git_version: String,
    git_commit: &'static str,
    git_tree_state: &'static str,
    build_date: &'static str,
    go_version: &'static str,
    compiler: &'static str,
    platform: String,
    /// The release of KubeEdge whose APIs, files and wire protocol this one speaks.
    kubeedge_compatible: &'static str,
}

/// The release of KubeEdge that we are compatible with.
pub(crate) const KUBEEDGE: &str = "v1.23.1";

/// This release, as KubeEdge writes versions.
pub(crate) fn own() -> String {
    format!("v{}", env!("CARGO_PKG_VERSION"))
}

impl Version {
    fn own() -> Self {
        Self {
            major: env!("CARGO_PKG_VERSION_MAJOR"),
            minor: env!("CARGO_PKG_VERSION_MINOR"),
            git_version: own(),
            git_commit: option_env!("SKERRY_GIT_COMMIT").unwrap_or_default(),
            git_tree_state: option_env!("SKERRY_GIT_TREE_STATE").unwrap_or_default(),
            build_date: option_env!("SKERRY_BUILD_DATE").unwrap_or_default(),
            go_version: "",
            compiler: "rustc",
            platform: format!("{}/{}", std::env::consts::OS, go_arch()),
            kubeedge_compatible: KUBEEDGE,
        }
    }
}

impl VersionArgs {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let version = Version::own();
        match self.output.as_deref() {
            None | Some("") => println!(
                "version: version.Info{{Major:\"{}\", Minor:\"{}\", GitVersion:\"{}\", GitCommit:\"{}\", \
                 GitTreeState:\"{}\", BuildDate:\"{}\", GoVersion:\"{}\", Compiler:\"{}\", Platform:\"{}\"}}",
                version.major,
                version.minor,
                version.git_version,
                version.git_commit,
                version.git_tree_state,
                version.build_date,
                version.go_version,
                version.compiler,
                version.platform
            ),
            Some("short") => println!("{}", version.git_version),
            Some("json") => output::json(&version)?,
            Some("yaml") => print!("{}", output::yaml(&version)?),
            Some(other) => {
                return Err(Problem::new(format!("invalid output format: {other}"))
                    .cause("keadm version knows short, json and yaml")
                    .next("keadm version -o short")
                    .fail("wrong flag", Exit::Usage));
            }
        }
        Ok(())
    }
}

/// Go's name for this architecture, as Kubernetes uses it.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
