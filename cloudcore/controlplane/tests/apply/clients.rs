//! kubectl, new and old, and kube-rs.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{Cluster, KUBECTL_1_20};
use crate::{DEPLOYMENT, owners};

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_moves_from_the_client_side_to_the_server_side() {
    let cluster = Cluster::start().await;
    let file = cluster.manifest("web.yaml", DEPLOYMENT);
    cluster.must(&["apply", "-f", &file]).await;
    assert!(cluster.must(&["apply", "view-last-applied", "deploy/web"]).await.contains("nginx:1.27"));
    std::fs::write(
        &file,
        DEPLOYMENT
            .replace("nginx:1.27", "nginx:1.28")
            .replace("      - {name: helper, image: 'busybox:1'}\n", ""),
    )
    .unwrap();
    assert_eq!(
        cluster.must(&["apply", "--server-side", "-f", &file]).await,
        "deployment.apps/web serverside-applied\n"
    );
    let web = cluster.json(&["get", "deploy", "web", "--show-managed-fields"]).await;
    let containers = web["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!((containers.len(), &containers[0]["image"]), (1, &json!("nginx:1.28")), "{web}");
    let managers: Vec<String> =
        owners(&web).iter().map(|one| one.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert!(
        managers.contains(&"kubectl Apply".to_owned())
            && !managers.iter().any(|one| one.contains("client-side")),
        "{managers:?}"
    );
    let version = web["metadata"]["resourceVersion"].clone();
    cluster.must(&["apply", "--server-side", "-f", &file]).await;
    assert_eq!(cluster.json(&["get", "deploy", "web"]).await["metadata"]["resourceVersion"], version);
    assert!(cluster.must(&["apply", "view-last-applied", "deploy/web"]).await.contains("nginx:1.28"));
    assert!(!cluster.must(&["get", "deploy", "web", "-o", "yaml"]).await.contains("managedFields"));
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reports_conflicts_and_forces_them() {
    let cluster = Cluster::start().await;
    let file = cluster.manifest("web.yaml", DEPLOYMENT);
    let with = async |manager: &str, more: &[&str]| {
        let manager = format!("--field-manager={manager}");
        let mut args = vec!["apply", "--server-side", "-f", &file, &manager];
        args.extend(more);
        cluster.kubectl(&args).await
    };
    assert!(with("m1", &[]).await.ok);
    std::fs::write(&file, DEPLOYMENT.replace("replicas: 2", "replicas: 5")).unwrap();
    let diff = cluster.kubectl(&["diff", "--server-side", "--field-manager=m1", "-f", &file]).await;
    assert!(!diff.ok && diff.out.contains("+  replicas: 5"), "{diff:?}");
    let refused = with("m2", &[]).await;
    assert!(
        !refused.ok
            && refused.err.contains("Apply failed with 1 conflict: conflict with \"m1\": .spec.replicas"),
        "{refused:?}"
    );
    assert!(with("m2", &["--dry-run=server", "--force-conflicts"]).await.ok);
    assert_eq!(cluster.json(&["get", "deploy", "web"]).await["spec"]["replicas"], 2);
    assert!(with("m2", &["--force-conflicts"]).await.ok);
    let web = cluster.json(&["get", "deploy", "web", "--show-managed-fields"]).await;
    assert_eq!(web["spec"]["replicas"], 5);
    let holders: Vec<String> = owners(&web).into_iter().filter(|one| one.contains("f:replicas")).collect();
    assert!(holders.len() == 1 && holders[0].starts_with("m2 Apply"), "{holders:?}");
    std::fs::write(&file, DEPLOYMENT.replace("image: nginx", "imagee: x\n        image: nginx")).unwrap();
    let typo = with("m1", &[]).await;
    assert!(
        !typo.ok
            && typo.err.contains(
                ".spec.template.spec.containers[name=\"nginx\"].imagee: field not declared in schema"
            ),
        "{typo:?}"
    );
    let table = cluster.must(&["get", "deploy", "web"]).await;
    assert!(table.contains("0/5"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_kubectl_applies_from_the_server_side() {
    let cluster = Cluster::start().await;
    let file = cluster.manifest("web.yaml", DEPLOYMENT);
    let args = ["apply", "--server-side", "--validate=false", "-f", &file];
    let said = cluster.run(KUBECTL_1_20, &args).await;
    assert_eq!(said.out, "deployment.apps/web serverside-applied\n", "{said:?}");
    assert_eq!(cluster.run(KUBECTL_1_20, &args).await.out, "deployment.apps/web serverside-applied\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_of_kube_rs_apply_their_part() {
    let cluster = Cluster::start().await;
    for client in [cluster.client.clone(), cluster.tls_client().await] {
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let part = |key: &str, value: &str| {
            Patch::Apply(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": {key: value}}),
            )
        };
        let one = PatchParams::apply("one");
        maps.patch("shared", &one, &part("a", "1")).await.unwrap();
        let both = maps.patch("shared", &PatchParams::apply("two"), &part("b", "1")).await.unwrap();
        assert_eq!(both.data.unwrap().len(), 2);
        let kube::Error::Api(status) =
            maps.patch("shared", &PatchParams::apply("two"), &part("a", "2")).await.unwrap_err()
        else {
            panic!("not an answer of the API");
        };
        assert!(
            status.code == 409 && status.message.contains("conflict with \"one\": .data.a"),
            "{status:?}"
        );
        let forced = maps.patch("shared", &PatchParams::apply("two").force(), &part("a", "2")).await.unwrap();
        let data = forced.data.unwrap();
        assert_eq!(data.into_iter().collect::<Vec<_>>(), [("a".to_owned(), "2".to_owned())]);
        let again = maps.patch("shared", &PatchParams::apply("two"), &part("a", "2")).await.unwrap();
        assert_eq!(again.metadata.resource_version, forced.metadata.resource_version);
        maps.delete("shared", &Default::default()).await.unwrap();

        let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
        let web: Value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "rs"}, "spec": {
            "selector": {"matchLabels": {"app": "rs"}},
            "template": {"metadata": {"labels": {"app": "rs"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        deployments.patch("rs", &one, &Patch::Apply(&web)).await.unwrap();
        let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "status": {"conditions": [{"type": "Available", "status": "True"}]}});
        let reported = deployments
            .patch_status("rs", &PatchParams::apply("status"), &Patch::Apply(&status))
            .await
            .unwrap();
        assert_eq!(reported.status.unwrap().conditions.unwrap().len(), 1);
        deployments.delete("rs", &Default::default()).await.unwrap();
    }
}
