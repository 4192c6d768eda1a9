//! Ports of the host that are wanted twice.

use anyhow::Result;
use e2e::{Runtime, free_ports};
use serde_json::{Value, json};

use super::ward::{SLEEP, Ward, container, pod};

fn wants(name: &str, port: u16) -> Value {
    let mut wants = pod(name, SLEEP);
    container(&mut wants)["ports"] =
        json!([{ "containerPort": 80, "hostPort": port, "hostIP": "127.0.0.1" }]);
    wants
}

const READY: [&str; 2] = ["State: Running", "Ready True"];

pub(crate) async fn two_pods_want_one_port_of_the_only_node(ward: &Ward) -> Result<()> {
    let [port] = free_ports()?;
    let (holder, name) = ("port-holder", "port-wanted-too");
    ward.apply(&wants(holder, port)).await?;
    ward.told(holder, &READY, &[]).await?;
    ward.apply(&wants(name, port)).await?;
    let words = "default-scheduler 0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. \
                 preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    ward.told(name, &["Status: Pending", "PodScheduled False"], &[("Warning FailedScheduling", words)])
        .await?;
    let uid = ward.uid(name).await?;
    ward.end("pod", holder).await?;
    ward.well(name, &uid).await
}

pub(crate) async fn a_bound_pod_wants_a_port_that_another_holds(ward: &Ward) -> Result<()> {
    let [port] = free_ports()?;
    let (holder, name) = ("port-holder-bound", "port-wanted-bound");
    ward.apply(&wants(holder, port)).await?;
    ward.told(holder, &READY, &[]).await?;
    let mut bound = wants(name, port);
    bound["spec"]["nodeName"] = "edge1".into();
    ward.apply(&bound).await?;
    let why = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    let rejected = format!("Message: Pod was rejected: {why}");
    let told = format!("kubelet {why}");
    ward.told(name, &["Status: Failed", "Reason: NodePorts", &rejected], &[("Warning NodePorts", &told)])
        .await?;
    // A pod that was refused is over; its owner, here the user, makes another when the port is free.
    ward.end("pod", holder).await?;
    ward.kubectl(&["wait", "--for=delete", &format!("pod/{holder}"), "--timeout=60s"]).await?;
    ward.kubectl(&["delete", "pod", name]).await?;
    ward.apply(&bound).await?;
    ward.well(name, &ward.uid(name).await?).await
}

pub(crate) async fn a_process_of_the_host_has_the_port(ward: &Ward) -> Result<()> {
    let process = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let port = process.local_addr()?.port();
    let name = "port-of-a-process";
    let mut serves = pod(name, &format!("exec httpd -f -p 127.0.0.1:{port}"));
    serves["spec"]["hostNetwork"] = true.into();
    ward.apply(&serves).await?;
    let lines = [
        "State: Waiting",
        "Reason: CrashLoopBackOff",
        "Last State: Terminated",
        "Reason: Error",
        "Exit Code: 1",
        "Ready: False",
        "Ready False",
    ];
    let uid = ward.uid(name).await?;
    let told = format!("kubelet Back-off restarting failed container c in pod {name}_default({uid})");
    ward.told(name, &lines, &[("Warning BackOff", &told)]).await?;

    // Docker serves ports of the host itself; under containerd a rule of the firewall leads past any process.
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let given = "port-of-a-process-given";
    ward.apply(&wants(given, taken.local_addr()?.port())).await?;
    if ward.runtime == Runtime::Docker {
        let words = "kubelet Failed to create pod sandbox: …";
        let lines = ["Status: Pending", "Reason: ContainerCreating"];
        ward.told(given, &lines, &[("Warning FailedCreatePodSandBox", words)]).await?;
    }
    let given_uid = ward.uid(given).await?;
    drop((process, taken));
    ward.well(name, &uid).await?;
    ward.well(given, &given_uid).await
}
