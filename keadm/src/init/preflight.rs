use super::{InitArgs, configure::Plan};
use crate::{
    bundle, cluster,
    host::{ports, process, space},
    layout::Layout,
    problem::Problem,
    reset::not_root,
    service::{Services, Status},
};

/// Everything that would go wrong, found before anything is changed.
pub(super) async fn check(args: &InitArgs, layout: &Layout, plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    if layout.is_host() && !nix::unistd::geteuid().is_root() {
        problems.push(not_root());
    }
    let running = running(layout).await;
    match &running {
        Some(one) if !args.force => problems.push(
            Problem::new("the cloudcore is already running on this node, please run reset to clean up first")
                .cause(format!("{one} runs"))
                .next("use it as it is, restart it with --force, or remove it: keadm reset cloud"),
        ),
        Some(_) => {}
        None => problems.extend(plan.ports().iter().filter_map(|port| {
            let blocked = ports::blocked(port.address)?;
            Some(blocked.problem(port.purpose, &format!("--set {}=…", port.setting)))
        })),
    }
    problems.extend(bundle::check("cloudcore", layout));
    problems.extend(space::check(space::Needs::CLOUD, &layout.cloud_state()));
    problems.extend(clock());
    if let Some(kubeconfig) = &args.kube_config {
        match cluster_answers(kubeconfig).await {
            Ok(client) => problems.extend(cluster::check_crds(&client).await),
            Err(problem) => problems.push(problem),
        }
    }
    problems
}

async fn running(layout: &Layout) -> Option<String> {
    match Services::of(layout).status("cloudcore").await {
        Status::Running { pid } => Some(format!("cloudcore (pid {pid})")),
        Status::Restarting { reason } => Some(format!("cloudcore, supervised ({reason})")),
        Status::Stopped if layout.is_host() => {
            process::running("cloudcore", Some(&layout.config("cloudcore"))).first().map(ToString::to_string)
        }
        Status::Stopped => None,
    }
}

/// A clock that stands before this program was written would make certificates that nobody accepts.
fn clock() -> Option<Problem> {
    const WRITTEN: i64 = 1_767_225_600;
    let now = jiff::Timestamp::now();
    (now.as_second() < WRITTEN).then(|| {
        Problem::new("the clock of this host is wrong")
            .cause(format!("it says {now:.0}"))
            .next("set the clock: timedatectl set-ntp true, or start chrony")
    })
}

async fn cluster_answers(kubeconfig: &std::path::Path) -> Result<kube::Client, Problem> {
    let client = cluster::connect(kubeconfig).await?;
    let action = format!("reach the API server of {}", kubeconfig.display());
    let version = client.apiserver_version().await.map_err(|error| cluster::api_problem(&action, &error))?;
    let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
    if version.major == "1" && digits.parse::<u32>().is_ok_and(|minor| minor < 16) {
        return Err(Problem::new("the cluster is too old")
            .cause(format!(
                "it runs Kubernetes {}, and apiextensions.k8s.io/v1 came with v1.16",
                version.git_version
            ))
            .next("upgrade it, or let cloudcore bring its own API: keadm init without --kube-config"));
    }
    Ok(client)
}
