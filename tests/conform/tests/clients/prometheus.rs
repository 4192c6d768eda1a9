//! Prometheus' discovery of what to scrape, as a service account over TLS: the targets are what the API has. By vmagent, which reads
//! Prometheus' configuration and answers its API, because Debian's Prometheus is built without Kubernetes. `tests/run.sh` unpacks
//! it and says where.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use e2e::Daemon;
use serde_json::{Value, json};

use crate::support::{Managed, cluster};

/// vmagent makes targets of what it has discovered every second, as it is told below.
const PATIENCE: Duration = Duration::from_secs(60);

const READER: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: prometheus, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: prometheus}
rules:
- apiGroups: [""]
  resources: [nodes, services, endpoints, pods]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: prometheus}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: prometheus}
subjects: [{kind: ServiceAccount, name: prometheus, namespace: default}]
"#;

const SHOP: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
      - {name: web, image: shop, ports: [{name: http, containerPort: 8080}, {name: metrics, containerPort: 9090}]}
      - {name: helper, image: helper}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: http}, {name: metrics, port: 9090}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  rules:
  - host: shop.example
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: shop, port: {name: http}}}}
      - {path: /admin, pathType: Prefix, backend: {service: {name: shop, port: {name: http}}}}
";

/// What a role's targets are told apart by: labels that Prometheus makes of the object, without their common prefix.
struct Role {
    name: &'static str,
    labels: &'static [&'static str],
    /// The same of what the API has.
    expected: fn(&Value) -> Vec<Vec<String>>,
    path: &'static str,
}

const ROLES: [Role; 6] = [
    Role {
        name: "node",
        labels: &["__address__", "node_name"],
        expected: |node| {
            let port = &node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
            vec![vec![
                format!("{}:{port}", text(&node["status"]["addresses"][0]["address"])),
                text(&node["metadata"]["name"]),
            ]]
        },
        path: "/api/v1/nodes",
    },
    Role {
        name: "pod",
        labels: &["__address__", "namespace", "pod_name", "pod_container_name", "pod_phase", "pod_node_name"],
        expected: |pod| {
            let ip = text(&pod["status"]["podIP"]);
            let target = |address: String, container: &Value| {
                let (meta, node) = (&pod["metadata"], &pod["spec"]["nodeName"]);
                let names =
                    [&meta["namespace"], &meta["name"], &container["name"], &pod["status"]["phase"], node];
                [address].into_iter().chain(names.map(text)).collect()
            };
            let of = |container: &Value| match container["ports"].as_array() {
                None => vec![target(ip.clone(), container)],
                Some(ports) => {
                    let address = |port: &Value| format!("{ip}:{}", port["containerPort"]);
                    ports.iter().map(|port| target(address(port), container)).collect::<Vec<_>>()
                }
            };
            items(&pod["spec"]["containers"]).flat_map(of).collect()
        },
        path: "/api/v1/pods",
    },
    Role {
        name: "endpoints",
        labels: &[
            "__address__",
            "namespace",
            "endpoints_name",
            "endpoint_ready",
            "endpoint_address_target_name",
        ],
        expected: |endpoints| {
            let (meta, mut targets) = (&endpoints["metadata"], Vec::new());
            for subset in items(&endpoints["subsets"]) {
                for (list, ready) in [("addresses", "true"), ("notReadyAddresses", "false")] {
                    for (address, port) in pairs(&subset[list], &subset["ports"]) {
                        let place = format!("{}:{}", text(&address["ip"]), port["port"]);
                        let (space, name) = (text(&meta["namespace"]), text(&meta["name"]));
                        let pod = text(&address["targetRef"]["name"]);
                        targets.push(vec![place, space, name, ready.to_owned(), pod]);
                    }
                }
            }
            targets
        },
        path: "/api/v1/endpoints",
    },
    Role {
        name: "endpointslice",
        labels: &[
            "__address__",
            "namespace",
            "endpointslice_name",
            "endpointslice_endpoint_conditions_ready",
            "endpointslice_address_target_name",
        ],
        expected: |slice| {
            let (meta, mut targets) = (&slice["metadata"], Vec::new());
            for (endpoint, port) in pairs(&slice["endpoints"], &slice["ports"]) {
                for address in items(&endpoint["addresses"]) {
                    let place = format!("{}:{}", text(address), port["port"]);
                    let (space, name) = (text(&meta["namespace"]), text(&meta["name"]));
                    let pod = text(&endpoint["targetRef"]["name"]);
                    targets.push(vec![place, space, name, endpoint["conditions"]["ready"].to_string(), pod]);
                }
            }
            targets
        },
        path: "/apis/discovery.k8s.io/v1/endpointslices",
    },
    Role {
        name: "service",
        labels: &["__address__", "namespace", "service_name", "service_port_name", "service_cluster_ip"],
        expected: |service| {
            let (meta, spec) = (&service["metadata"], &service["spec"]);
            let (space, name) = (text(&meta["namespace"]), text(&meta["name"]));
            let target = |port: &Value| {
                let place = format!("{name}.{space}.svc:{}", port["port"]);
                vec![place, space.clone(), name.clone(), text(&port["name"]), text(&spec["clusterIP"])]
            };
            items(&spec["ports"]).map(target).collect()
        },
        path: "/api/v1/services",
    },
    Role {
        name: "ingress",
        labels: &["__address__", "namespace", "ingress_name", "ingress_path"],
        expected: |ingress| {
            let (meta, mut targets) = (&ingress["metadata"], Vec::new());
            for rule in items(&ingress["spec"]["rules"]) {
                for path in items(&rule["http"]["paths"]) {
                    let names = [&rule["host"], &meta["namespace"], &meta["name"], &path["path"]];
                    targets.push(names.map(text).into());
                }
            }
            targets
        },
        path: "/apis/networking.k8s.io/v1/ingresses",
    },
];

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn pairs<'a>(left: &'a Value, right: &'a Value) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    items(left).flat_map(move |one| items(right).map(move |other| (one, other)))
}

/// One job for each role. Nothing listens at the addresses: they are kept as the instance, and the targets lie at one closed port
/// of this machine, to be scraped once a day.
fn configuration(managed: &Managed) -> String {
    let cluster = &managed.cluster;
    let jobs = ROLES.iter().map(|role| {
        json!({
            "job_name": role.name,
            "kubernetes_sd_configs": [{
                "role": role.name,
                "api_server": cluster.server,
                "authorization": {"credentials_file": cluster.path("token")},
                "tls_config": {"ca_file": cluster.path("ca.crt")},
            }],
            "relabel_configs": [
                {"source_labels": ["__address__"], "target_label": "instance"},
                {"source_labels": ["__meta_kubernetes_ingress_path"], "target_label": "path"},
                {"target_label": "__address__", "replacement": "127.0.0.1:1"},
            ],
        })
    });
    let seldom = json!({"scrape_interval": "1d", "scrape_timeout": "1s"});
    json!({"global": seldom, "scrape_configs": jobs.collect::<Vec<_>>()}).to_string()
}

/// A running vmagent and a client of its API.
struct Agent {
    daemon: Daemon,
    client: kube::Client,
}

impl Agent {
    async fn start(managed: &Managed) -> Self {
        let program = std::env::var_os("SKERRY_VMAGENT").map(PathBuf::from);
        let program = program.expect("SKERRY_VMAGENT is not set: start the tests with tests/run.sh");
        assert!(program.is_file(), "{} is not there: start the tests with tests/run.sh", program.display());
        let file = managed.cluster.manifest("prometheus.yml", &configuration(managed));
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (listen, config) = (format!("-httpListenAddr={address}"), format!("-promscrape.config={file}"));
        let queue = format!("-remoteWrite.tmpDataPath={}", managed.cluster.path("queue").display());
        let args = [
            &*listen,
            &config,
            &queue,
            "-remoteWrite.url=http://127.0.0.1:1",
            "-promscrape.kubernetesSDCheckInterval=1s",
        ];
        let log = managed.cluster.path("vmagent.log");
        let daemon = Daemon::start("vmagent", &program, &args, &log).unwrap();
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        Self { daemon, client: kube::Client::try_from(config).unwrap() }
    }

    /// The discovered targets of a role.
    async fn targets(&self, role: &Role) -> BTreeSet<Vec<String>> {
        let request = http::Request::get("/api/v1/targets?state=any").body(Vec::new()).unwrap();
        // It may not listen yet.
        let answer = self.client.request::<Value>(request).await.unwrap_or_default();
        let all = ["activeTargets", "droppedTargets"].map(|list| items(&answer["data"][list]));
        let labels = all.into_iter().flatten().map(|target| &target["discoveredLabels"]);
        let mine = labels.filter(|labels| labels["job"] == role.name);
        mine.map(|labels| role.labels.iter().map(|name| label(labels, name)).collect()).collect()
    }

    /// Waits until the targets of every role are what the API has.
    async fn agrees(&self, managed: &Managed, after: &str) {
        for role in &ROLES {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            loop {
                let (_, list) = managed.cluster.call("GET", role.path, Value::Null).await;
                let expected: BTreeSet<_> = items(&list["items"]).flat_map(role.expected).collect();
                let found = self.targets(role).await;
                assert!(!expected.is_empty(), "the API has nothing for role {}", role.name);
                if found == expected {
                    break;
                }
                let late = tokio::time::Instant::now() > deadline;
                let (role, log) = (role.name, self.daemon.tail());
                assert!(!late, "role {role} {after}:\n{found:#?}\ninstead of\n{expected:#?}\n{log}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn label(labels: &Value, name: &str) -> String {
    if name.starts_with("__") {
        text(&labels[name])
    } else {
        text(&labels[format!("__meta_kubernetes_{name}")])
    }
}

/// What a node agent says of where it is.
async fn give_addresses(managed: &Managed, node: &str, address: &str) {
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": address}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10350}},
    }});
    let path = format!("/api/v1/nodes/{node}/status");
    cluster::expect(managed.cluster.patch("merge-patch+json", &path, status), 200).await;
}

async fn pods(managed: &Managed, count: usize) -> Value {
    let all = "/api/v1/namespaces/default/pods?labelSelector=app%3Dshop";
    let running = |pod: &Value| pod["status"]["phase"] == "Running";
    let wanted = |list: &Value| items(&list["items"]).filter(|pod| running(pod)).count() == count;
    let exactly = |list: &Value| wanted(list) && items(&list["items"]).count() == count;
    managed.until(all, "so many pods", exactly).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_discovers_exactly_what_the_api_has_and_follows_its_changes() {
    let managed = Managed::start().await;
    let one = managed.ready_node("one").await;
    let two = managed.ready_node("two").await;
    give_addresses(&managed, "one", "127.0.0.11").await;
    give_addresses(&managed, "two", "127.0.0.12").await;
    let cluster = &managed.cluster;
    for (file, manifest) in [("reader.yaml", READER), ("shop.yaml", SHOP)] {
        let path = cluster.manifest(file, manifest);
        cluster.must(&["apply", "-f", &path]).await;
    }
    pods(&managed, 2).await;
    let roots = "/api/v1/namespaces/default/configmaps/kube-root-ca.crt";
    let roots = managed.until(roots, "published", |map| map["data"]["ca.crt"].is_string()).await;
    cluster.manifest("ca.crt", roots["data"]["ca.crt"].as_str().unwrap());
    cluster.manifest("token", cluster.must(&["create", "token", "prometheus"]).await.trim());

    let agent = Agent::start(&managed).await;
    agent.agrees(&managed, "at first").await;

    cluster.must(&["scale", "deployment/shop", "--replicas=3"]).await;
    let three = pods(&managed, 3).await;
    agent.agrees(&managed, "with one pod more").await;

    let gone = text(&three["items"][0]["metadata"]["name"]);
    cluster.must(&["scale", "deployment/shop", "--replicas=2"]).await;
    pods(&managed, 2).await;
    cluster.must(&["delete", "pod", &gone, "--ignore-not-found"]).await;
    pods(&managed, 2).await;
    agent.agrees(&managed, "with a pod replaced and one pod less").await;

    cluster.must(&["run", "alone", "--image=alone", "--port=7000", "--expose"]).await;
    managed
        .until("/api/v1/namespaces/default/pods/alone", "running", |pod| pod["status"]["phase"] == "Running")
        .await;
    agent.agrees(&managed, "with another pod and service").await;
    cluster.must(&["delete", "pod/alone", "service/alone"]).await;
    two.stop().await;
    cluster.must(&["delete", "node/two"]).await;
    let path = cluster.manifest("later.yaml", &SHOP.replace("/admin", "/later"));
    cluster.must(&["apply", "-f", &path]).await;
    agent.agrees(&managed, "with a node, a pod and a service gone and a path renamed").await;
    drop(one);
}
