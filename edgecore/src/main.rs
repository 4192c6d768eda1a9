//! edgecore: reads its configuration, wires the modules, and runs until it is told to stop.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgAction, Parser};
use edgecore::edged;
use edgecore::edged::node::{self, NodeSettings};
use edgecore::edgehub::{self, Hub, Outbox};
use edgecore::eventbus::{self, EventBus};
use edgecore::local_api::LocalApi;
use edgecore::metrics::Metrics;
use edgecore::{devicetwin, dmi, lock, metamanager, rules, servicebus, takeover, taskmanager};
use pages::ProgramFiles;
use proto::config::{ConfigFile, EdgeCore, host_address};
use tasks::TaskSet;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

/// The edge agent of Skerry: runs this node's pods and devices, with or without the cloud.
#[derive(Parser, Debug)]
#[command(version)]
struct Flags {
    /// The configuration file.
    #[arg(long, default_value = EdgeCore::PATH)]
    config: PathBuf,
    /// Print every key with its default and exit.
    #[arg(long)]
    defaultconfig: bool,
    /// Print the keys that are usually set and exit.
    #[arg(long)]
    minconfig: bool,
    /// How much is logged: 0 to 3 normal, 4 and 5 debug, 6 and more everything. RUST_LOG overrides it.
    #[arg(short, long = "v", default_value_t = 0, action = ArgAction::Set)]
    verbosity: u8,
}

/// What sysexits.h calls EX_USAGE: the configuration is wrong and a restart does not help.
const BAD_CONFIGURATION: u8 = 64;
/// How long modules have to end before they are aborted. Containers are never stopped.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let flags = Flags::parse();
    if flags.minconfig || flags.defaultconfig {
        print!("{}", if flags.minconfig { EdgeCore::min_yaml() } else { EdgeCore::default_yaml() });
        return ExitCode::SUCCESS;
    }
    log(flags.verbosity);
    let (config, settings) = match configuration(&flags.config) {
        Ok(configuration) => configuration,
        Err(error) => {
            eprintln!("edgecore: {}", told(&error));
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    match run(config, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edgecore: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// What the modules are told, checked before anything is opened.
struct Settings {
    hub: edgehub::Settings,
    store: metamanager::Settings,
    node: NodeSettings,
    pods: edged::config::Settings,
    twins: devicetwin::Settings,
    mqtt: eventbus::Settings,
    mappers: dmi::Settings,
    jobs: taskmanager::Settings,
    rules: rules::Settings,
    programs: servicebus::Settings,
    local_api: SocketAddr,
}

fn configuration(path: &Path) -> anyhow::Result<(EdgeCore, Settings)> {
    let (config, warnings) = EdgeCore::load(path)?;
    for warning in warnings {
        warn!(file = %path.display(), "{warning}");
    }
    let address = node_address(&config)?;
    let kubelet = &config.modules.edged.tailored_kubelet_config;
    let mut store = metamanager::Settings::new(&config.database.data_source, config.node_name());
    store.query_timeout = config.modules.meta_manager.remote_query_timeout.get();
    let settings = Settings {
        hub: edgehub::Settings::from_config(&config, Some(path.to_owned()))?,
        store,
        node: NodeSettings::new(&config.modules.edged, address)?,
        pods: edged::config::Settings::from_config(&config, address)?,
        twins: devicetwin::Settings::beside(&config.database.data_source, config.node_name()),
        mappers: dmi::Settings::new(
            &config.dmi_directory(),
            &config.database.data_source,
            config.node_name(),
        ),
        jobs: taskmanager::Settings::beside(&config.database.data_source, config.node_name()),
        rules: rules::Settings::beside(&config.database.data_source),
        programs: servicebus::Settings::new(&config.modules.service_bus),
        mqtt: eventbus::Settings::new(
            &config.modules.event_bus,
            config.node_name(),
            &config.database.data_source,
        )?,
        local_api: SocketAddr::new(kubelet.address, kubelet.read_only_port),
    };
    Ok((config, settings))
}

fn node_address(config: &EdgeCore) -> anyhow::Result<IpAddr> {
    match config.modules.edged.node_ip.as_str() {
        "" => Ok(host_address()),
        text => text.parse().with_context(|| format!("modules.edged.nodeIP: {text:?} is no address")),
    }
}

fn run(config: EdgeCore, settings: Settings) -> anyhow::Result<()> {
    let directory = config.database.data_source.parent().unwrap_or(Path::new("."));
    let _lock = lock::take(directory)?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        node = config.node_name(),
        address = %settings.node.address,
        cloud = %settings.hub.server,
        data = %directory.display(),
        "edgecore starts"
    );
    let files = ProgramFiles::at_start();
    // Memory is a promise: two workers do the work, a few threads may block on files.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let ended = runtime.block_on(wire(config, settings, files));
    // What still waits for a disk that hangs ends with the process: no more is lost than in a crash.
    runtime.shutdown_timeout(GRACE);
    ended
}

/// Who talks to whom. The store is opened first and closed last.
async fn wire(config: EdgeCore, settings: Settings, files: ProgramFiles) -> anyhow::Result<()> {
    let store_tasks = TaskSet::new("metamanager");
    let hub_tasks = TaskSet::new("edgehub");
    let pod_tasks = TaskSet::new("edged");
    let node_tasks = TaskSet::new("node");
    let twin_tasks = TaskSet::new("devicetwin");
    let mqtt_tasks = TaskSet::new("eventbus");
    let mapper_tasks = TaskSet::new("dmi");
    let job_tasks = TaskSet::new("taskmanager");
    let rule_tasks = TaskSet::new("rules");
    let program_tasks = TaskSet::new("servicebus");
    let memory_tasks = TaskSet::new("memory");

    let (hub, link) = edgehub::channel();
    let store = metamanager::open(settings.store, hub.clone(), &store_tasks).await?;
    let places = takeover::Settings {
        twins: settings.twins.clone(),
        mappers: settings.mappers.clone(),
        rules: settings.rules.clone(),
    };
    // Without it the node waits for the cloud's word about its devices; its pods do not.
    if let Err(reason) = takeover::run(&config.database.data_source, &places, &store).await {
        error!("what KubeEdge's edgecore left is not taken over, the next start tries again: {reason}");
    }
    let mut outboxes: Vec<Arc<dyn Outbox>> = vec![Arc::new(store.clone())];

    let metrics = Metrics::default();
    let mut local = LocalApi::new(hub.clone()).with_metrics(metrics.clone());
    let mut images = None;
    if config.modules.edged.enable {
        let pods = edged::start(settings.pods, store.clone(), hub.connection(), &pod_tasks)?;
        node::run(settings.node, hub.clone(), store.clone(), pods.outlook, &node_tasks);
        local = local.with_pods(pods.pulse, pods.api);
        images = Some(pods.images);
    }
    let mut jobs = None;
    if config.modules.task_manager.enable {
        let tools = taskmanager::Tools { images, store: store.clone(), connection: hub.connection() };
        let handle = taskmanager::open(settings.jobs, tools, &job_tasks).await;
        outboxes.push(Arc::new(handle.clone()));
        jobs = Some(handle);
    }
    let (modules, mut rules) = (&config.modules, None);
    let mqtt = eventbus::Settings { metrics: metrics.clone(), ..settings.mqtt };
    let bus = modules.device_twin.enable.then(|| EventBus::new(mqtt));
    if modules.event_bus.enable || modules.service_bus.enable {
        let publisher = bus.as_ref().filter(|_| modules.event_bus.enable).map(EventBus::publisher);
        let caller = modules.service_bus.enable.then(|| servicebus::Caller::new(settings.programs.timeout));
        let tools = rules::Tools { publisher, caller, connection: hub.connection() };
        match rules::open(settings.rules, tools, &rule_tasks).await {
            Ok(handle) => {
                outboxes.push(Arc::new(handle.clone()));
                outboxes.push(Arc::new(handle.answers.clone()));
                if modules.service_bus.enable {
                    servicebus::serve(settings.programs, handle.clone(), hub.clone(), &program_tasks);
                }
                rules = Some(handle);
            }
            // Pods and devices do not need them.
            Err(reason) => error!("this node has no part in rules until edgecore is restarted: {reason}"),
        }
    }
    if let Some(bus) = bus {
        let voice = Arc::new(bus.publisher());
        let connection = Some(hub.connection());
        let counted = devicetwin::Settings { metrics: metrics.clone(), ..settings.twins };
        let twins =
            devicetwin::open(counted, Some(store.clone()), connection.clone(), voice, &twin_tasks).await?;
        outboxes.push(Arc::new(twins.clone()));
        outboxes.push(Arc::new(twins.presence()));
        let counted = dmi::Settings { metrics, ..settings.mappers };
        let mappers = dmi::start(counted, store.clone(), twins.clone(), connection, &mapper_tasks).await;
        outboxes.push(Arc::new(mappers));
        if config.modules.event_bus.enable {
            // A taken port must not cost the node its pods.
            if let Err(reason) = bus.start(twins, rules.clone(), &mqtt_tasks).await {
                error!("devices are not served over MQTT until edgecore is restarted: {reason}");
            }
        }
    }
    if config.modules.edge_hub.enable {
        edgehub::run(Hub { settings: settings.hub, link, store, jobs, rules, outboxes }, &hub_tasks);
    }
    if settings.local_api.port() != 0 {
        local.serve(settings.local_api, &hub_tasks);
    }
    files.keep_giving_back(&memory_tasks);

    let why = stop_signal().await?;
    info!("{why}: edgecore stops, containers keep running");
    for tasks in [
        memory_tasks,
        mapper_tasks,
        mqtt_tasks,
        program_tasks,
        rule_tasks,
        job_tasks,
        pod_tasks,
        node_tasks,
        hub_tasks,
        twin_tasks,
        store_tasks,
    ] {
        let report = tasks.shutdown(GRACE).await;
        if !report.is_clean() {
            warn!(aborted = ?report.aborted, stuck = ?report.stuck, "some tasks did not end in time");
        }
    }
    Ok(())
}

async fn stop_signal() -> anyhow::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

/// The error with its causes, each said once: many of our messages already name theirs.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        _ if text.contains(&cause) => text,
        _ => format!("{text}: {cause}"),
    })
}

/// klog's numbers to our levels. Libraries below only speak up when something is wrong.
fn log(verbosity: u8) {
    let level = match verbosity {
        0..=3 => "info",
        4 | 5 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},sqlx=warn,hyper=warn,h2=warn,rustls=warn")));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}
