//! Nodes are closed, drained and opened again.

use serde_json::Value;

use super::{Running, deployment, lines};
use crate::support::cluster::{KUBECTL, KUBECTL_1_20};

const SET: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: each}
spec:
  selector: {matchLabels: {app: each}}
  template:
    metadata: {labels: {app: each}}
    spec: {containers: [{name: c, image: 'i:1'}]}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_keeps_its_daemons_and_its_other_pods_come_up_elsewhere() {
    for (kubectl, done) in [(KUBECTL, "node/edge1 drained\n"), (KUBECTL_1_20, "node/edge1 evicted\n")] {
        let running = Running::start().await;
        running.apply("web.yaml", &deployment("web", 4)).await;
        running.apply("each.yaml", SET).await;
        running.rolled_out("web").await;
        running.must("rollout status ds/each --timeout=20s").await;
        let say = async |line: &str| running.cluster.run(kubectl, &super::words(line)).await;
        assert_eq!(say("cordon edge1").await.out, "node/edge1 cordoned\n");
        let nodes = say("get nodes").await.out;
        assert!(
            lines(&nodes).iter().any(|line| line.starts_with("edge1 Ready,SchedulingDisabled edge ")),
            "{nodes}"
        );
        let refused = say("drain edge1").await;
        assert!(!refused.ok && refused.err.contains("DaemonSet-managed Pods"), "{refused:?}");
        let said = say("drain edge1 --ignore-daemonsets").await;
        assert!(said.ok && said.out.ends_with(done), "{said:?}");
        running.rolled_out("web").await;
        let (_, pods) = running.cluster.call("GET", "/api/v1/namespaces/default/pods", Value::Null).await;
        let on = |node: &str, app: &str| {
            let all = pods["items"].as_array().unwrap().iter();
            all.filter(|pod| pod["spec"]["nodeName"] == node && pod["metadata"]["labels"]["app"] == app)
                .count()
        };
        assert_eq!((on("edge1", "web"), on("edge2", "web"), on("edge1", "each")), (0, 4, 1));
        assert_eq!(say("uncordon edge1").await.out, "node/edge1 uncordoned\n");
    }
}
