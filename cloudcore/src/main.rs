//! The cloud agent's process: flags, configuration, Kubernetes client, modules, signals.

use std::fmt::Display;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use cloudcore::app::App;
use cloudcore::listen::bind;
use controllers::Settings;
use controlplane::{AuditConfig, Config as PlaneConfig, ControlPlane};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config as KubeConfig};
use mimalloc::MiMalloc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pages::ProgramFiles;
use proto::config::{CloudCore, ConfigFile};
use tasks::TaskSet;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// sysexits(3): the configuration is wrong.
const EX_USAGE: u8 = 64;
/// How long modules may take to end after a signal.
const GRACE: Duration = Duration::from_secs(8);

/// Connections and files that may be open at the same time, if the system allows it.
const OPEN_FILES: u64 = 65_536;

/// Lists of thousands of objects come and go when cloudcore starts. This allocator gives what they took back to the system, while the
/// C library's keeps most of it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const EXAMPLES: &str = "\
Examples:
  cloudcore --minconfig > /etc/kubeedge/config/cloudcore.yaml   write a configuration to start from
  cloudcore                                                     with its own, embedded Kubernetes API
  cloudcore --kubeconfig ~/.kube/config                         beside a cluster that exists
  kubectl --kubeconfig /etc/kubeedge/admin.conf get nodes       ask the embedded API";

/// The cloud agent of Skerry: connects edge nodes to a Kubernetes API, its own or a cluster's.
#[derive(Parser)]
#[command(name = "cloudcore", version, after_help = EXAMPLES)]
struct Flags {
    /// The configuration file, in KubeEdge's schema.
    #[arg(long, default_value = CloudCore::PATH)]
    config: PathBuf,
    /// Use the cluster of this kubeconfig instead of the embedded control plane.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Print a configuration with every key and its default, and exit.
    #[arg(long)]
    defaultconfig: bool,
    /// Print a configuration with the keys that are usually set, and exit.
    #[arg(long)]
    minconfig: bool,
    /// How much to log: 0 to 2 the course of things, 3 and 4 details, 5 and more everything. RUST_LOG refines it.
    #[arg(short = 'v', long = "v", default_value_t = 0, value_name = "LEVEL")]
    verbosity: u8,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    if flags.minconfig || flags.defaultconfig {
        print!("{}", if flags.minconfig { CloudCore::min_yaml() } else { CloudCore::default_yaml() });
        return ExitCode::SUCCESS;
    }
    log_to_stderr(flags.verbosity);
    raise_open_files();
    let config = match load(&flags) {
        Ok(config) => config,
        Err(error) => return end(EX_USAGE, &error),
    };
    let files = ProgramFiles::at_start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(1, &format!("the runtime cannot be started: {error}")),
    };
    match runtime.block_on(run(config, files)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => end(1, &chain(&error)),
    }
}

async fn run(config: CloudCore, files: ProgramFiles) -> Result<()> {
    // kube builds its TLS from the process's provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    info!("cloudcore {} starts", env!("CARGO_PKG_VERSION"));
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;

    let plane_tasks = TaskSet::new("plane");
    let client = client(&config, &plane_tasks).await?;
    let app = tokio::select! {
        app = App::start(&config, client) => app?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let memory_tasks = TaskSet::new("memory");
    files.keep_giving_back(&memory_tasks);

    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: stopping"),
        _ = interrupt.recv() => info!("SIGINT: stopping"),
    }
    // Sessions end before the API that they report to.
    for report in
        [memory_tasks.shutdown(GRACE).await, app.shutdown(GRACE).await, plane_tasks.shutdown(GRACE).await]
    {
        if !report.is_clean() {
            warn!(aborted = ?report.aborted, stuck = ?report.stuck, "not everything ended in time");
        }
    }
    info!("stopped");
    Ok(())
}

/// The one way to Kubernetes: a kubeconfig's cluster, the cluster this runs in, or the embedded control plane.
async fn client(config: &CloudCore, tasks: &TaskSet) -> Result<Client> {
    let named = &config.kube_api_config;
    if config.embedded() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
        return embedded(config, tasks).await;
    }
    let mut kube = if !named.kube_config.is_empty() {
        let file = Kubeconfig::read_from(&named.kube_config)
            .with_context(|| format!("kubeconfig {} cannot be read", named.kube_config))?;
        let options = KubeConfigOptions::default();
        KubeConfig::from_custom_kubeconfig(file, &options)
            .await
            .with_context(|| format!("kubeconfig {} cannot be used", named.kube_config))?
    } else if named.master.is_empty() {
        KubeConfig::incluster().context("the cluster's own credentials cannot be read")?
    } else {
        KubeConfig::new(named.master.parse().context("kubeAPIConfig.master is no URL")?)
    };
    if !named.master.is_empty() {
        kube.cluster_url = named.master.parse().context("kubeAPIConfig.master is no URL")?;
    }
    info!("the Kubernetes API is at {}", kube.cluster_url);
    Client::try_from(kube).context("the Kubernetes client cannot be made")
}

async fn embedded(config: &CloudCore, tasks: &TaskSet) -> Result<Client> {
    let plane = &config.modules.control_plane;
    anyhow::ensure!(
        plane.enable,
        "there is no Kubernetes API: set kubeAPIConfig.kubeConfig, or modules.controlPlane.enable to true"
    );
    let hub = &config.modules.cloud_hub;
    let addresses = hub.advertise_address.iter().map(ToString::to_string);
    let names = addresses.chain(hub.dns_names.iter().filter(|name| !name.is_empty()).cloned()).collect();
    let crds = proto::crds::all()?.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    let audit = &plane.audit;
    let audit = (!audit.path.as_os_str().is_empty()).then(|| AuditConfig {
        path: audit.path.clone(),
        policy: Some(audit.policy.clone()).filter(|path| !path.as_os_str().is_empty()),
        max_bytes: u64::from(audit.max_size_mb) << 20,
        max_files: audit.max_files,
    });
    let settings = PlaneConfig {
        data_dir: plane.data_dir.clone(),
        address: plane.address,
        port: plane.port,
        names,
        crds,
        encrypt_secrets: plane.encrypt_secrets,
        encryption: Some(plane.encryption_config.clone()).filter(|path| !path.as_os_str().is_empty()),
        audit,
    };
    // Whoever has the port is named here; the control plane itself takes it a moment later.
    let api = SocketAddr::new(plane.address, plane.port);
    drop(bind(api, "the embedded Kubernetes API", "modules.controlPlane.port").await?);
    let opened = ControlPlane::open(settings).await.context("the embedded control plane cannot be opened")?;
    let address = opened.address();
    let host = if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { host(address.ip()) };
    let kubeconfig = opened.admin_kubeconfig(&format!("https://{host}:{}", address.port()))?;
    proto::pki::write_private(&plane.admin_kube_config, kubeconfig.as_bytes())?;
    info!(
        "the embedded Kubernetes API is at https://{address}; kubectl --kubeconfig {}",
        plane.admin_kube_config.display()
    );
    let client = opened.client();
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    let settings = Settings {
        host: host.unwrap_or_else(|_| "localhost".to_owned()),
        node_monitor_grace: plane.node_monitor_grace_period.get(),
        ..Settings::default()
    };
    controllers::start(client.clone(), settings, tasks);
    tasks.spawn_once("controlplane", |stop| async move {
        if let Err(error) = opened.run(stop).await {
            tracing::error!("the embedded control plane failed: {error}");
        }
    });
    Ok(client)
}

fn host(ip: std::net::IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

/// The file, the flags over it, and a line for everything in it that a person should look at.
fn load(flags: &Flags) -> Result<CloudCore, String> {
    let (mut config, warnings) = if flags.config.exists() || flags.config != Path::new(CloudCore::PATH) {
        CloudCore::load(&flags.config).map_err(|error| error.to_string())?
    } else {
        info!("{} does not exist: the defaults hold", CloudCore::PATH);
        (CloudCore::default(), Vec::new())
    };
    for warning in warnings {
        warn!("{}: {warning}", flags.config.display());
    }
    if let Some(kubeconfig) = &flags.kubeconfig {
        if !kubeconfig.exists() {
            return Err(format!("--kubeconfig {} does not exist", kubeconfig.display()));
        }
        config.kube_api_config.kube_config = kubeconfig.display().to_string();
    }
    Ok(config)
}

/// A connection is an open file, and the usual limit of a shell is 1024 of them. What is not allowed stays as it is.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = hard.min(OPEN_FILES).max(soft);
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    });
    if let Err(error) = raised {
        warn!("the limit of open files cannot be raised: {error}");
    }
}

fn log_to_stderr(verbosity: u8) {
    let level = match verbosity {
        0..=2 => "info",
        3..=4 => "info,cloudcore=debug,controllers=debug,controlplane=debug",
        _ => "debug,cloudcore=trace,controllers=trace,controlplane=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// The error and its causes, without those that the text before already tells.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
    }
    text
}

fn end(code: u8, reason: &dyn Display) -> ExitCode {
    eprintln!("cloudcore: {reason}");
    ExitCode::from(code)
}
