//! What a newcomer tries first: the manifests of Kubernetes' own tutorials, and the ways to hand them over.

use super::{Running, deployment, lines};

const CLAIMS: &str = "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: nginx
  replicas: 2
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}}
    spec:
      containers:
      - name: nginx
        image: registry.k8s.io/nginx-slim:0.24
        ports: [{containerPort: 80, name: web}]
        volumeMounts: [{name: www, mountPath: /usr/share/nginx/html}]
  volumeClaimTemplates:
  - metadata: {name: www}
    spec:
      accessModes: [ReadWriteOnce]
      storageClassName: my-storage-class
      resources: {requests: {storage: 1Gi}}
";

const REST: &str = "
apiVersion: batch/v1
kind: CronJob
metadata: {name: hello}
spec:
  schedule: '* * * * *'
  jobTemplate: {spec: {template: {spec: {restartPolicy: OnFailure, containers: [{name: hello, image: 'busybox:1.28', command: [date]}]}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: minimal, annotations: {nginx.ingress.kubernetes.io/rewrite-target: /}}
spec:
  ingressClassName: nginx-example
  rules: [{http: {paths: [{path: /testpath, pathType: Prefix, backend: {service: {name: test, port: {number: 80}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: test}
spec:
  podSelector: {matchLabels: {role: db}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}}, {podSelector: {matchLabels: {role: frontend}}}]
    ports: [{protocol: TCP, port: 6379}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: php-apache}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: php-apache}
  minReplicas: 1
  maxReplicas: 10
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: pod-reader}
rules: [{apiGroups: [''], resources: [pods], verbs: [get, watch, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: read-pods}
subjects: [{kind: User, name: jane, apiGroup: rbac.authorization.k8s.io}]
roleRef: {kind: Role, name: pod-reader, apiGroup: rbac.authorization.k8s.io}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high-priority}
value: 1000000
description: for XYZ service pods only
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: mem-cpu}
spec: {hard: {pods: '20'}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: limits}
spec: {limits: [{type: Container, default: {memory: 512Mi}, defaultRequest: {memory: 256Mi}}]}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manifests_of_the_tutorials_are_taken_and_taken_again() {
    let running = Running::start().await;
    let all = [deployment("redis", 1), CLAIMS.to_owned(), REST.to_owned()].join("---\n");
    let said = running.apply("all.yaml", &all).await;
    assert_eq!(said.lines().filter(|line| line.ends_with(" created")).count(), 11, "{said}");
    running.rolled_out("redis").await;
    let again = running.apply("all.yaml", &all).await;
    // Here, too, kubectl takes the defaults of claim templates for a change that the server then does not find.
    let changed = again.lines().filter(|line| !line.ends_with(" unchanged")).collect::<Vec<_>>();
    assert_eq!(changed, ["statefulset.apps/web configured"]);
    assert_eq!(running.cluster.json(&["get", "sts", "web"]).await["metadata"]["generation"], 1);
    // Claims are made for each pod of the set; who provides volumes is another matter.
    let claim = "/api/v1/namespaces/default/persistentvolumeclaims/www-web-0";
    running.until(claim, "claimed", |claim| claim["status"]["phase"] == "Pending").await;
    let told = |text: &str| text.contains("create Claim www-web-0 Pod web-0 in StatefulSet web success");
    running.until_kubectl(&["describe", "sts", "web"], "told of its claim", told).await;
    for (what, row) in [
        ("ingress", "minimal nginx-example * 80 "),
        ("netpol", "test role=db "),
        ("hpa", "php-apache Deployment/php-apache cpu: <unknown>/50% 1 10 0 "),
        ("rolebinding", "read-pods Role/pod-reader "),
        ("pc", "high-priority 1000000 false "),
        ("cronjob", "hello * * * * * <none> False "),
    ] {
        let table = running.must(&format!("get {what}")).await;
        assert!(lines(&table).iter().any(|line| line.starts_with(row)), "no {row:?} in {table}");
    }
    let described = running.must("describe limits").await;
    assert!(lines(&described).contains(&"Container memory - - 256Mi 512Mi -".to_owned()), "{described}");
    let file = running.cluster.path("all.yaml");
    running.must(&format!("delete -f {}", file.display())).await;
    assert!(!running.says(&format!("get -f {}", file.display())).await.ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_a_kustomization_and_a_pruned_set_are_applied_as_one() {
    let running = Running::start().await;
    let dir = running.cluster.path("dir");
    std::fs::create_dir(&dir).unwrap();
    let map = |name: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{app: pr}}}}\n")
    };
    for name in ["a", "b"] {
        std::fs::write(dir.join(format!("{name}.yaml")), map(name)).unwrap();
    }
    let dir = dir.to_str().unwrap();
    assert_eq!(running.must(&format!("apply -f {dir}")).await, "configmap/a created\nconfigmap/b created\n");
    std::fs::remove_file(format!("{dir}/b.yaml")).unwrap();
    let pruned = running.must(&format!("apply --prune -l app=pr -f {dir}")).await;
    assert_eq!(pruned, "configmap/a unchanged\nconfigmap/b pruned\n");
    std::fs::write(format!("{dir}/web.yaml"), deployment("web", 1)).unwrap();
    let kustomization = "namePrefix: my-\nresources: [web.yaml]\nconfigMapGenerator: [{name: gen, literals: [a=b]}]\nimages: [{name: http, newTag: '9'}]\n";
    std::fs::write(format!("{dir}/kustomization.yaml"), kustomization).unwrap();
    let applied = running.must(&format!("apply -k {dir}")).await;
    assert!(applied.contains("deployment.apps/my-web created\n"), "{applied}");
    running.rolled_out("my-web").await;
    assert!(running.says(&format!("diff -k {dir}")).await.ok, "nothing to do");
    running.must(&format!("delete -k {dir}")).await;
    assert!(!running.says("get deploy my-web").await.ok);
}
