//! What kubectl shows: columns, selections, watches, pages, descriptions.

use std::collections::HashSet;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};

use super::{Running, assert_lines, deployment, lines};
use crate::support::cluster::KUBECTL;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_selections_and_formats_are_those_of_kubernetes() {
    let running = Running::start().await;
    running.apply("web.yaml", &deployment("web", 2)).await;
    running.rolled_out("web").await;
    for (what, columns) in [
        ("deploy", "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR"),
        ("rs", "NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR"),
        ("pods", "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"),
        (
            "nodes",
            "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME",
        ),
        ("svc", "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR"),
        ("events", "LAST SEEN TYPE REASON OBJECT SUBOBJECT SOURCE MESSAGE FIRST SEEN COUNT NAME"),
    ] {
        let table = running.must(&format!("get {what} -o wide")).await;
        assert_eq!(lines(&table)[0], columns);
    }
    let both = lines(&running.must("get deploy,po -o wide").await);
    assert!(both[1].starts_with("deployment.apps/web 2/2 2 2 "), "{both:?}");
    assert!(both[1].ends_with(" http http:1 app=web"), "{both:?}");
    assert!(both[4].starts_with("pod/web-") && both[4].contains(" 1/1 Running 0 "), "{both:?}");
    let labels = running.must("get pods --show-labels").await;
    assert!(lines(&labels)[1].contains(" app=web,pod-template-hash="), "{labels}");
    assert_eq!(lines(&running.must("get pods -L app").await)[0], "NAME READY STATUS RESTARTS AGE APP");
    assert_eq!(lines(&running.must("get pods -A").await)[0], "NAMESPACE NAME READY STATUS RESTARTS AGE");
    let names = running.must("get pods -o name").await;
    assert_eq!(running.must("get pods --sort-by=.metadata.name -o name").await, names);
    let sorted = running.must("get pods --sort-by=.metadata.name").await;
    assert_eq!(lines(&sorted).len(), 3, "{sorted}");
    for (selection, rows) in [
        ("-l app=web", 2),
        ("-l app!=web", 0),
        ("-l app", 2),
        ("--field-selector=status.phase=Running", 2),
        ("--field-selector=status.phase!=Running", 0),
    ] {
        let said = running.says(&format!("get pods -o name {selection}")).await;
        assert_eq!(said.out.lines().count(), rows, "{selection}: {said:?}");
    }
    let yaml = running.must("get deploy web -o yaml").await;
    assert!(
        yaml.starts_with("apiVersion: apps/v1\nkind: Deployment\n") && !yaml.contains("managedFields"),
        "{yaml}"
    );
    let path = running.must("get deploy web -o jsonpath={.status.readyReplicas}").await;
    assert_eq!(path, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_every_state_of_a_rollout_and_each_pod_is_new_once() {
    let running = Running::start().await;
    running.apply("web.yaml", &deployment("web", 2)).await;
    running.rolled_out("web").await;
    let mut watch =
        running.cluster.command(KUBECTL, &["get", "pods", "-w", "--output-watch-events", "--no-headers"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = BufReader::new(watch.stdout.take().unwrap()).lines();
    running.must("set image deploy/web http=http:2").await;
    let mut rows: Vec<Vec<String>> = Vec::new();
    while rows.iter().filter(|row| row[0] == "DELETED").count() < 2 {
        let line = tokio::time::timeout(Duration::from_secs(25), seen.next_line()).await;
        let line = line.expect("the watch is silent").unwrap().expect("the watch ended");
        rows.push(line.split_whitespace().map(str::to_owned).collect());
    }
    watch.kill().await.unwrap();
    let added: Vec<&String> = rows.iter().filter(|row| row[0] == "ADDED").map(|row| &row[1]).collect();
    assert_eq!(added.iter().collect::<HashSet<_>>().len(), added.len(), "{rows:?}");
    for state in ["Pending", "Running", "Terminating"] {
        assert!(rows.iter().any(|row| row[3] == state), "no {state} in {rows:?}");
    }
    let said = running.says("get pods -w --request-timeout=1s").await;
    assert!(said.ok && lines(&said.out).len() == 3, "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seven_pods_in_chunks_of_two_are_four_requests() {
    let running = Running::start().await;
    running.apply("web.yaml", &deployment("web", 7)).await;
    running.rolled_out("web").await;
    let said = running.says("get pods --chunk-size=2 -o wide -v=6").await;
    assert_eq!(lines(&said.out).len(), 8, "{said:?}");
    assert_eq!(said.err.matches("limit=2").count(), 4, "{said:?}");
    let mut names: Vec<String> = lines(&said.out)[1..].to_vec();
    let shown = names.clone();
    names.sort();
    assert_eq!(shown, names);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptions_leave_nothing_out() {
    let running = Running::start().await;
    running.apply("web.yaml", &deployment("web", 1)).await;
    running.rolled_out("web").await;
    let told = |text: &str| text.contains("default-scheduler  Successfully assigned default/web-");
    let pod = running.until_kubectl(&["describe", "pod"], "told of its node", told).await;
    assert_lines(
        &pod,
        &[
            "Namespace: default",
            "Priority: 0",
            "Service Account: default",
            "Status: Running",
            "State: Running",
            "Ready: True",
            "Restart Count: 0",
            "PodScheduled True",
            "TokenExpirationSeconds: 3607",
            "ConfigMapName: kube-root-ca.crt",
            "QoS Class: BestEffort",
            "Tolerations: node.kubernetes.io/not-ready:NoExecute op=Exists for 300s",
        ],
    );
    assert!(
        pod.contains("Controlled By:  ReplicaSet/web-") && pod.contains("\nIP:               10."),
        "{pod}"
    );
    let told = |text: &str| text.contains("RegisteredNode");
    let node = running.until_kubectl(&["describe", "node", "edge1"], "told of the node", told).await;
    assert_lines(
        &node,
        &["Roles: edge", "HolderIdentity: edge1", "Taints: <none>", "Unschedulable: false", "pods: 110"],
    );
    assert!(!node.contains("RenewTime:       <unset>") && node.contains("Non-terminated Pods:"), "{node}");
    running.must("expose deploy web --port=80").await;
    let service = running.must("describe svc web").await;
    assert_lines(
        &service,
        &[
            "Selector: app=web",
            "Type: ClusterIP",
            "IP Families: IPv4",
            "Port: <unset> 80/TCP",
            "TargetPort: 80/TCP",
            "Session Affinity: None",
            "Events: <none>",
        ],
    );
    running.must("create quota q --hard=pods=5").await;
    let used = |text: &str| lines(text).contains(&"pods 1 5".to_owned());
    let namespace = running.until_kubectl(&["describe", "ns", "default"], "with its quota", used).await;
    assert_lines(
        &namespace,
        &[
            "Name: default",
            "Status: Active",
            "Labels: kubernetes.io/metadata.name=default",
            "No LimitRange resource.",
        ],
    );
    running.must("create secret generic s --from-literal=a=bcd").await;
    assert_lines(&running.must("describe secret s").await, &["Type: Opaque", "a: 3 bytes"]);
    assert_lines(&running.must("describe sa default").await, &["Tokens: <none>", "Events: <none>"]);
}
