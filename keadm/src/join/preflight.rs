use std::net::SocketAddr;

use proto::config::RuntimeApi;
use rustls::pki_types::CertificateDer;

use super::{JoinArgs, bootstrap, configure};
use crate::{
    bundle,
    cloud::{self, Questions},
    host::{ports, process, space},
    layout::Layout,
    problem::Problem,
    reset::not_root,
    runtime::Runtime,
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
    found.problems.extend(taken_ports(&plan));
    if plan.config.modules.edged.enable {
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
        && bound != plan.node.as_str()
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
        node: plan.node.as_str(),
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
fn taken_ports(plan: &configure::Plan) -> Vec<Problem> {
    let modules = &plan.config.modules;
    let kubelet = &modules.edged.tailored_kubelet_config;
    let mut wanted = Vec::new();
    if let Some(broker) = plan.broker() {
        let other = "--set modules.eventBus.mqttServerInternal=tcp://127.0.0.1:PORT, or use it as the broker with \
                     --set modules.eventBus.mqttMode=2";
        wanted.push((broker.to_owned(), "the embedded MQTT broker", other));
    }
    if kubelet.read_only_port != 0 {
        let other = "--set modules.edged.tailoredKubeletConfig.readOnlyPort=PORT";
        let address = SocketAddr::new(kubelet.address, kubelet.read_only_port);
        wanted.push((address.to_string(), "edgecore's health and metrics endpoint", other));
    }
    let meta_server = &modules.meta_manager.meta_server;
    if meta_server.enable {
        let other = "--set modules.metaManager.metaServer.server=127.0.0.1:PORT";
        wanted.push((meta_server.server.to_string(), "MetaServer", other));
    }
    wanted
        .into_iter()
        .filter_map(|(address, purpose, setting)| {
            Some(ports::blocked(address.parse().ok()?)?.problem(purpose, setting))
        })
        .collect()
}

async fn runtime(args: &JoinArgs, found: &mut Found) {
    let (api, endpoint) = args.runtimetype.resolve(&args.remote_runtime_endpoint);
    let docker = api == RuntimeApi::Docker;
    let what = format!("the container runtime cannot be used at {endpoint}");
    let facts = async {
        let mut runtime = Runtime::connect(args.runtimetype, &endpoint).await?;
        runtime.facts().await
    };
    let facts = match facts.await {
        Ok(facts) => facts,
        Err(error) => {
            use crate::cri::RuntimeError as E;
            let next = match &error {
                E::Endpoint(_) => {
                    "for example: --remote-runtime-endpoint=unix:///run/containerd/containerd.sock"
                }
                E::Missing(_) if docker => {
                    "install and start it (Debian: apt-get install docker.io), or name its socket with \
                     --remote-runtime-endpoint"
                }
                E::Missing(_) => {
                    "install and start one (Debian: apt-get install containerd), or name its socket with \
                     --remote-runtime-endpoint"
                }
                E::Refused { .. } if docker => {
                    "start it: systemctl start docker, or run dockerd by hand to see why it ends"
                }
                E::Refused { .. } => {
                    "start it: systemctl start containerd, or run containerd by hand to see why it ends"
                }
                E::NotDocker(_) => {
                    "upgrade it, or, if the socket is one of containerd or CRI-O, add --runtimetype=remote"
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
            "{} has no pod network yet, so only pods with hostNetwork will start: {reason}{}",
            facts.name,
            if docker { "" } else { " (put a CNI configuration into its conf_dir, usually /etc/cni/net.d)" }
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
