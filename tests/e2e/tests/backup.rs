//! keadm backup, restore and export against a real cloudcore, with a node that keeps working.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result};
use e2e::{EdgeOptions, Sensor, Stack, StackOptions, binary, device, eventually};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DynamicObject, PostParams},
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

fn keadm(stack: &Stack, arguments: &[&str]) -> Result<Output> {
    let root = stack.dir().join("root");
    Ok(Command::new(binary("keadm")?)
        .args(arguments)
        .env("KEADM_ROOT", root)
        .env_remove("KUBECONFIG")
        .output()?)
}

#[track_caller]
fn said(output: &Output, code: i32, words: &[&str]) -> String {
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
    text
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn map(name: &str, value: u64) -> Result<ConfigMap> {
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "data": {"n": value.to_string()}}))?)
}

fn revision(map: &ConfigMap) -> Result<u64> {
    Ok(map.metadata.resource_version.as_deref().context("a revision")?.parse()?)
}

async fn reported(stack: &Stack, wanted: &str) -> Result<()> {
    let statuses: Api<DynamicObject> =
        Api::namespaced_with(stack.client(), "default", &device::status_resource());
    eventually("the cloud shows what the device reports", LIMIT, || async {
        let status = statuses.get("meter").await.map_err(|error| error.to_string())?;
        match device::reported(&status, "temperature") {
            Some(value) if value == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_saved_under_load_and_restored_keeps_its_nodes_and_kubeconfigs_and_uses_no_revision_twice()
-> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    device::apply_thermometer(&stack.client(), "edge1", "meter").await?;
    let mut sensor = Sensor::new("meter", stack.mqtt_port());
    sensor.report("meter", "temperature", "1", LIMIT).await?;
    reported(&stack, "1").await?;
    let maps: Api<ConfigMap> = Api::default_namespaced(stack.client());
    maps.create(&PostParams::default(), &map("kept", 1)?).await?;
    let kubeconfig = std::fs::read_to_string(stack.kubeconfig())?;

    // While others write.
    let (config, file) =
        (shown(&stack.dir().join("cloudcore.yaml")), shown(&stack.dir().join("cloud.tar.gz")));
    let storm = tokio_util::sync::CancellationToken::new();
    let mut writer = tokio::task::JoinSet::new();
    writer.spawn({
        let (maps, storm) = (maps.clone(), storm.clone());
        async move {
            let mut current = maps.create(&PostParams::default(), &map("storm", 0)?).await?;
            let mut n = 0;
            while !storm.is_cancelled() {
                n += 1;
                let next = ConfigMap { metadata: current.metadata, ..map("storm", n)? };
                current = maps.replace("storm", &PostParams::default(), &next).await?;
            }
            anyhow::Ok(current)
        }
    });
    let saved = {
        let arguments = ["backup", "cloud", "--config", &config, "--to", &file, "-o", "json"];
        tokio::task::block_in_place(|| keadm(&stack, &arguments))?
    };
    storm.cancel();
    let last = writer.join_next().await.context("somebody writes")???;
    said(&saved, 0, &[]);
    let report: Value = serde_json::from_slice(&saved.stdout)?;
    let names: Vec<_> =
        report["manifest"]["files"].as_array().into_iter().flatten().map(|f| &f["name"]).collect();
    for name in ["cloudcore.yaml", "admin.conf", "data/pki/ca.key", "data/controlplane.db"] {
        assert!(names.contains(&&json!(name)), "{name} is not in {report}");
    }
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    said(
        &keadm(&stack, &["backup", "cloud", "--verify", &file])?,
        0,
        &["complete and undamaged", "data/pki/ca.crt"],
    );
    let again = keadm(&stack, &["backup", "cloud", "--config", &config, "--to", &file])?;
    said(&again, 3, &["cloud.tar.gz exists", "--to"]);

    // What comes after the backup is lost, but not its revisions.
    let lost = maps.create(&PostParams::default(), &map("lost", 1)?).await?;
    said(
        &keadm(&stack, &["restore", "cloud", &file, "--config", &config])?,
        3,
        &["cloudcore runs", "there is a cloud already"],
    );
    stack.cloud.terminate(LIMIT).await?;
    let restore = keadm(&stack, &["restore", "cloud", &file, "--config", &config])?;
    said(&restore, 3, &["there is a cloud already", "--force"]);
    let restore = keadm(&stack, &["restore", "cloud", &file, "--config", &config, "--force"])?;
    said(&restore, 0, &["is restored", "kept aside", "systemctl start cloudcore"]);
    assert!(std::fs::read_dir(stack.dir())?.flatten().any(|entry| {
        entry.file_name().to_string_lossy().starts_with("cloud.before-")
            && entry.path().join("controlplane.db").exists()
    }));
    stack.cloud.restart()?;

    // The client of before, with the certificate of before.
    let kept = eventually("the API answers again", LIMIT, || async {
        maps.get("kept").await.map_err(|error| error.to_string())
    });
    assert!(revision(&kept.await?)? > revision(&lost)? + 1_000_000);
    assert!(maps.get_opt("lost").await?.is_none());
    let storm = maps.get("storm").await?;
    assert!(revision(&storm)? > revision(&last)?);
    assert!(revision(&maps.create(&PostParams::default(), &map("new", 1)?).await?)? > revision(&storm)?);
    std::fs::write(stack.dir().join("old.conf"), kubeconfig)?;
    let old = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(stack.dir().join("old.conf"))
        .args(["get", "configmaps"])
        .output()?;
    said(&old, 0, &["kept", "new"]);
    // The node comes back with the certificate it has.
    sensor.report("meter", "temperature", "2", LIMIT).await?;
    reported(&stack, "2").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_named_and_changes_nothing() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let config = shown(&stack.dir().join("cloudcore.yaml"));
    let file = stack.dir().join("cloud.tar.gz");
    said(
        &keadm(&stack, &["backup", "cloud", "--config", &config, "--to", &shown(&file)])?,
        0,
        &["read back"],
    );
    let whole = std::fs::read(&file)?;
    let damages: [(&str, Vec<u8>); 4] = [
        ("cut", whole[..whole.len() * 2 / 3].to_vec()),
        ("flipped", {
            let mut bytes = whole.clone();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            bytes
        }),
        ("empty", Vec::new()),
        ("other", b"not a backup at all".to_vec()),
    ];
    for (name, bytes) in damages {
        let damaged = stack.dir().join(name);
        std::fs::write(&damaged, bytes)?;
        said(
            &keadm(&stack, &["backup", "cloud", "--verify", &shown(&damaged)])?,
            1,
            &["no undamaged backup"],
        );
        let target = stack.dir().join("elsewhere/cloudcore.yaml");
        let restore = keadm(&stack, &["restore", "cloud", &shown(&damaged), "--config", &shown(&target)])?;
        said(&restore, 3, &["no undamaged backup", "nothing was changed"]);
        assert!(!target.exists());
    }
    let missing = keadm(&stack, &["backup", "cloud", "--config", "/no/such.yaml"])?;
    said(&missing, 3, &["/no/such.yaml", "--config"]);
    Ok(())
}

const OBJECTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: "yes"}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: cakes.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: cakes, singular: cake, kind: Cake}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: strings, namespace: shop}
data:
  boolean: "yes"
  octal: "0o17"
  old-octal: "017"
  float: "1e3"
  nothing: "null"
  tilde: "~"
  date: "2026-01-01"
  empty: ""
  hash: "a # b"
  colon: "a: b"
  quote: "it's \"quoted\""
  lines: "one\n  two\n\nthree\n"
  trailing: "line  \n\n"
  tab: "\tx"
  unicode: "Käse ☃ \u0007"
  dash: "- x"
  merge: "<<"
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: shop}
stringData: {password: "p@ss"}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: baker, namespace: shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: cake-eater}
rules: [{apiGroups: ["example.com"], resources: ["cakes"], verbs: ["get"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: bakers, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cake-eater}
subjects: [{kind: ServiceAccount, name: baker, namespace: shop}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, annotations: {owner: "me"}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1", args: ["--on", "no"]}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: shop}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: once, image: "web:1"}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: lone, namespace: shop}
spec: {nodeName: edge1, containers: [{name: c, image: "web:1"}]}
"#;

const OWNED: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: owned
  namespace: shop
  ownerReferences: [{apiVersion: example.com/v1, kind: Cake, name: big, uid: UID, controller: true}]
"#;

fn files(dir: &Path) -> Result<BTreeMap<String, String>> {
    let read = std::fs::read_dir(dir)?.map(|entry| {
        let path = entry?.path();
        let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
        Ok((name, std::fs::read_to_string(path)?))
    });
    read.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_applies_to_another_cluster_and_is_the_same_there() -> Result<()> {
    let from = Stack::start(StackOptions::default()).await?;
    from.token().await?;
    from.apply(OBJECTS)?;
    from.kubectl(&["wait", "--for=condition=Established", "crd/cakes.example.com", "--timeout=10s"])?;
    from.apply(
        "apiVersion: example.com/v1\nkind: Cake\nmetadata: {name: big, namespace: shop}\nspec: {layers: 3}\n",
    )?;
    let uid = from.kubectl(&["get", "cake", "-n", "shop", "big", "-o", "jsonpath={.metadata.uid}"])?;
    from.apply(&OWNED.replace("UID", &uid))?;
    device::apply_thermometer(&from.client(), "edge1", "meter").await?;

    let dir = from.dir().join("export");
    let kubeconfig = shown(&from.kubeconfig());
    let export = |stack: &Stack, dir: &Path, more: &[&str]| {
        let (dir, kubeconfig) = (shown(dir), shown(&stack.kubeconfig()));
        let mut arguments = vec!["export", "--kube-config", &kubeconfig, "--output-dir", &dir];
        arguments.extend(more);
        keadm(stack, &arguments)
    };
    let text = said(&export(&from, &dir, &["--with-secrets"])?, 0, &["kubectl apply -f", "Established"]);
    assert!(text.contains("customresourcedefinitions"), "{text}");
    said(&export(&from, &dir, &[])?, 3, &["is not empty"]);
    let exported = files(&dir)?;
    let all: String = exported.values().map(String::as_str).collect();
    for mine in ["name: meter", "name: lone", "name: cake-eater", "layers: 3", "name: casecret"] {
        assert!(all.contains(mine), "`{mine}` is not in the export:\n{all}");
    }
    let of_the_server =
        ["\n  uid:", "\n  resourceVersion:", "\n  managedFields:", "\n  creationTimestamp:", "\nstatus:"];
    for theirs in of_the_server.into_iter().chain(["name: owned", "kube-root-ca"]) {
        assert!(!all.contains(theirs), "`{theirs}` is in the export:\n{all}");
    }

    let to = Stack::start(StackOptions::default()).await?;
    to.token().await?;
    let crds = dir.join("010-customresourcedefinitions.apiextensions.k8s.io.yaml");
    to.kubectl(&["apply", "-f", &shown(&crds)])?;
    to.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=10s"])?;
    to.kubectl(&["apply", "-f", &shown(&dir)])?;
    let again = to.dir().join("export");
    said(&export(&to, &again, &["--with-secrets"])?, 0, &[]);
    assert_eq!(files(&again)?, exported);

    // By name, to standard output, and without what is secret.
    let one = keadm(
        &from,
        &["export", "--kube-config", &kubeconfig, "-n", "shop", "--kinds=ConfigMap,secrets", "-o", "json"],
    )?;
    said(&one, 0, &["1 Secrets are left out"]);
    let list: Value = serde_json::from_slice(&one.stdout)?;
    let names: Vec<_> =
        list["items"].as_array().into_iter().flatten().map(|item| &item["metadata"]["name"]).collect();
    assert_eq!(names, ["strings"]);
    let unknown = keadm(&from, &["export", "--kube-config", &kubeconfig, "--kinds=unicorns"])?;
    said(&unknown, 2, &["unicorns cannot be exported", "kubectl api-resources"]);
    Ok(())
}
