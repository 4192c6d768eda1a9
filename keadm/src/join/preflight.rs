use std::net::SocketAddr;

use rustls::pki_types::CertificateDer;
use serde_json::Value;

use super::{JoinArgs, bootstrap, configure};
use crate::{
    bundle,
    cloud::{self, Questions},
    cri::Runtime,
    document,
    host::{ports, process, space},
    layout::Layout,
    problem::Problem,
    reset::not_root,
    service::{Services, Status},
};

/// What the checks came to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    pub(super) plan: Option<configure::Plan>,
    /// cloudcore's CA; `None` when the node has joined before.
    pub(super) ca: Option<CertificateDer<'static>>,
}

/// Everything that would go wrong, found before anything is changed.
pub(super) async fn check(args: &JoinArgs, layout: &Layout) -> Found {
    let mut found = Found::default();
    let problems = &mut found.problems;
    if layout.is_host() && !nix::unistd::geteuid().is_root() {
        problems.push(not_root());
    }
    problems.extend(running(layout).await);
    problems.extend(bundle::check("edgecore", layout));
    problems.extend(space::check(space::Needs::EDGE, &layout.edge_state()));
    let (plan, wrong_flags) = configure::plan(args, layout);
    problems.extend(wrong_flags);
    let Some(plan) = plan else {
        // The runtime can be checked without a plan, and what is wrong with it should be told now too.
        runtime(args, &mut found).await;
        return found;
    };
    found.warnings.extend(plan.warnings.iter().cloned());
    found.problems.extend(taken_ports(&plan.document));
    if is_enabled(&plan.document, "modules.edged.enable") {
        runtime(args, &mut found).await;
    }
    match bootstrap::earlier(layout) {
        Some(earlier) => found.problems.extend(earlier.problem(&plan.node)),
        None => ask_cloud(&plan, args.token.is_empty(), &mut found).await,
    }
    found.plan = Some(plan);
    found
}

async fn ask_cloud(plan: &configure::Plan, no_token: bool, found: &mut Found) {
    if no_token {
        found.problems.push(
            Problem::new("there is no token")
                .cause("--token is empty")
                .next("run `keadm gettoken` on cloudcore's host and pass what it prints with --token"),
        );
    }
    if let Some(bound) = plan.token.as_ref().and_then(super::Token::node)
        && bound != plan.node
    {
        found.problems.push(
            Problem::new(format!("the token is not for {}", plan.node))
                .cause(format!("it is bound to node {bound}"))
                .next(format!("join with --edgenode-name={bound}, or: keadm gettoken --node {}", plan.node)),
        );
    }
    let questions = Questions {
        hub: &plan.hub,
        https: &plan.https,
        node: &plan.node,
        token: plan.token.as_ref(),
        now: jiff::Timestamp::now().as_second(),
    };
    let survey = cloud::survey(&questions).await;
    found.problems.extend(survey.problems);
    found.ca = survey.ca;
}

/// KubeEdge's own check, and the kubelet, which would fight over the same pods.
async fn running(layout: &Layout) -> Vec<Problem> {
    let mut problems = Vec::new();
    let edgecore = match Services::of(layout).status("edgecore").await {
        Status::Running { pid } => Some(format!("edgecore (pid {pid})")),
        Status::Restarting { reason } => Some(format!("edgecore, supervised ({reason})")),
        Status::Stopped if layout.is_host() => {
            process::running("edgecore", Some(&layout.config("edgecore"))).first().map(ToString::to_string)
        }
        Status::Stopped => None,
    };
    problems.extend(edgecore.map(|one| {
        Problem::new("EdgeCore is already running on this node, please run reset to clean up first")
            .cause(format!("{one} runs"))
            .next("keadm reset edge")
    }));
    let ask = std::env::var("CHECK_EDGECORE_ENVIRONMENT").is_ok_and(|value| value == "false");
    if !ask {
        problems.extend(process::running("kubelet", None).first().map(|kubelet| {
            Problem::new("kubelet runs on this host, and edgecore would take its pods away")
                .cause(format!("{kubelet} runs"))
                .next(
                    "stop kubelet; or, if they use different runtimes, set CHECK_EDGECORE_ENVIRONMENT=false",
                )
        }));
    }
    problems
}

/// The ports that edgecore is going to listen on and that somebody has.
fn taken_ports(config: &Value) -> Vec<Problem> {
    let kubelet = "modules.edged.tailoredKubeletConfig";
    let mut wanted = Vec::new();
    if let Some(broker) = configure::broker(config) {
        wanted.push((
            broker,
            "the embedded MQTT broker",
            "--set modules.eventBus.mqttServerInternal=tcp://127.0.0.1:PORT, or use it as the broker with \
             --set modules.eventBus.mqttMode=2",
        ));
    }
    if is_enabled(config, "modules.edged.enable") {
        let address = document::text(config, &format!("{kubelet}.address")).unwrap_or("127.0.0.1");
        let port = document::lookup(config, &format!("{kubelet}.readOnlyPort"))
            .and_then(Value::as_u64)
            .unwrap_or(10350);
        if port != 0 {
            wanted.push((
                format!("{address}:{port}"),
                "edgecore's health and metrics endpoint",
                "--set modules.edged.tailoredKubeletConfig.readOnlyPort=PORT",
            ));
        }
    }
    if document::lookup(config, "modules.metaManager.metaServer.enable")
        .and_then(Value::as_bool)
        .unwrap_or(false)
    {
        let server =
            document::text(config, "modules.metaManager.metaServer.server").unwrap_or("127.0.0.1:10550");
        wanted.push((
            server.to_owned(),
            "MetaServer",
            "--set modules.metaManager.metaServer.server=127.0.0.1:PORT",
        ));
    }
    wanted
        .into_iter()
        .filter_map(|(address, purpose, setting)| {
            let address: SocketAddr = address.parse().ok()?;
            Some(ports::blocked(address)?.problem(purpose, setting))
        })
        .collect()
}

fn is_enabled(config: &Value, path: &str) -> bool {
    document::lookup(config, path).and_then(Value::as_bool).unwrap_or(true)
}

async fn runtime(args: &JoinArgs, found: &mut Found) {
    let endpoint = &args.remote_runtime_endpoint;
    let what = format!("the container runtime cannot be used at {endpoint}");
    let facts = async {
        let mut runtime = Runtime::connect(endpoint).await?;
        let facts = runtime.facts().await?;
        runtime.has_images().await?;
        Ok::<_, crate::cri::RuntimeError>(facts)
    };
    let facts = match facts.await {
        Ok(facts) => facts,
        Err(error) => {
            use crate::cri::RuntimeError as E;
            let next = match &error {
                E::Endpoint(_) => {
                    "for example: --remote-runtime-endpoint=unix:///run/containerd/containerd.sock"
                }
                E::Missing(_) => {
                    "install and start one (Debian: apt-get install containerd), or name its socket with \
                     --remote-runtime-endpoint"
                }
                E::Refused { .. } => {
                    "start it: systemctl start containerd, or run containerd by hand to see why it ends"
                }
                E::NotCri(_) => {
                    "enable the CRI plugin: remove \"cri\" from disabled_plugins in /etc/containerd/config.toml, \
                     then restart containerd"
                }
            };
            found.problems.push(Problem::new(what).cause(error).next(next));
            return;
        }
    };
    if let Some(reason) = facts.runtime_not_ready {
        found.problems.push(
            Problem::new(what)
                .cause(format!("{} is not ready: {reason}", facts.name))
                .next("look into its log"),
        );
    }
    if let Some(reason) = facts.network_not_ready {
        found.warnings.push(format!(
            "{} has no pod network yet, so only pods with hostNetwork will start: {reason} (put a CNI configuration \
             into its conf_dir, usually /etc/cni/net.d)",
            facts.name
        ));
    }
    if let Some(driver) = facts.cgroup_driver.filter(|driver| *driver != args.cgroupdriver) {
        found.problems.push(
            Problem::new(format!(
                "the cgroup driver is {}, but the runtime uses {driver}",
                args.cgroupdriver
            ))
            .cause(format!("{} is configured so; pods would be killed or not start", facts.name))
            .next(format!("add --cgroupdriver={driver}")),
        );
    }
}
