use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde_json::{Value, json};

use super::*;
use crate::edged::objects::{Absent, Token, TokenRequest};

struct Bench {
    _dir: tempfile::TempDir,
    settings: Settings,
    objects: Objects,
    facts: Facts,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let address = [192, 0, 2, 1].into();
        let settings = Settings::new("edge1", address, dir.path().join("kubelet"), dir.path().join("logs"));
        let facts = Facts {
            node: "edge1".into(),
            host: address,
            pod: vec![[10, 0, 0, 9].into()],
            cpu_milli: 2000,
            memory: 1 << 30,
            storage: 1 << 30,
            machine_memory: 1 << 30,
        };
        Self { _dir: dir, settings, objects: Objects::default(), facts }
    }

    fn config_map(&mut self, data: Value) {
        let map: ConfigMap = serde_json::from_value(json!({ "data": data })).expect("a config map");
        self.objects.config_maps.insert("cm".into(), Ok(map));
    }

    fn from<'a>(&'a self, pod: &'a Pod) -> Ingredients<'a> {
        Ingredients { pod, objects: &self.objects, facts: &self.facts, settings: &self.settings }
    }
}

fn pod(volume: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": "default", "uid": "u1", "labels": { "a": "b" } },
        "spec": { "containers": [{ "name": "c", "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }], "volumes": [volume] },
    }))
    .expect("a pod")
}

#[test]
fn a_changed_config_map_is_swapped_in_at_once_and_an_unchanged_one_is_not_written() {
    let mut bench = Bench::new();
    bench.config_map(json!({ "a": "1", "b": "2" }));
    let pod = pod(json!({ "name": "v", "configMap": { "name": "cm" } }));
    sync(bench.from(&pod)).expect("volumes");
    let dir = bench.from(&pod).dir("configmap", "v");
    let first = fs::read_link(dir.join("..data")).expect("a link");
    assert_eq!(fs::read_to_string(dir.join("a")).expect("a file"), "1");
    assert_eq!(fs::read_link(dir.join("a")).expect("a link"), Path::new("..data/a"));

    sync(bench.from(&pod)).expect("volumes");
    assert_eq!(fs::read_link(dir.join("..data")).expect("a link"), first, "nothing changed, nothing written");

    bench.config_map(json!({ "a": "3", "c": "4" }));
    sync(bench.from(&pod)).expect("volumes");
    assert_ne!(fs::read_link(dir.join("..data")).expect("a link"), first);
    assert_eq!(fs::read_to_string(dir.join("a")).expect("a file"), "3");
    assert_eq!(fs::read_to_string(dir.join("c")).expect("a file"), "4");
    assert!(!dir.join("b").exists() && fs::symlink_metadata(dir.join("b")).is_err());
    assert!(!dir.join(first).exists(), "the old content is gone");
}

#[test]
fn items_choose_paths_and_modes() {
    let mut bench = Bench::new();
    bench.config_map(json!({ "a": "1", "b": "2" }));
    let items = json!([{ "key": "a", "path": "sub/dir/a.conf", "mode": 0o400 }]);
    let pod = pod(json!({ "name": "v", "configMap": { "name": "cm", "items": items } }));
    sync(bench.from(&pod)).expect("volumes");
    let file = bench.from(&pod).dir("configmap", "v").join("sub/dir/a.conf");
    assert_eq!(fs::read_to_string(&file).expect("a file"), "1");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o400);
}

#[test]
fn what_is_missing_is_named_unless_it_is_optional() {
    let mut bench = Bench::new();
    bench.objects.config_maps.insert("cm".into(), Err(Absent::NotFound));
    let wanted =
        |optional: bool| pod(json!({ "name": "v", "configMap": { "name": "cm", "optional": optional } }));
    let error = sync(bench.from(&wanted(false))).expect_err("it is missing");
    assert_eq!(error.to_string(), "volume \"v\" : configmap \"cm\" not found");
    sync(bench.from(&wanted(true))).expect("it is optional");

    bench.config_map(json!({ "a": "1" }));
    let pod =
        pod(json!({ "name": "v", "configMap": { "name": "cm", "items": [{ "key": "x", "path": "x" }] } }));
    let error = sync(bench.from(&pod)).expect_err("the key is missing");
    assert_eq!(error.to_string(), "volume \"v\" : configmap references non-existent config key: x");
}

#[test]
fn no_item_writes_outside_its_volume() {
    let mut bench = Bench::new();
    bench.config_map(json!({ "a": "1" }));
    for path in ["../x", "/etc/x", "..data/x", "a/../../x"] {
        let pod = pod(
            json!({ "name": "v", "configMap": { "name": "cm", "items": [{ "key": "a", "path": path }] } }),
        );
        assert!(sync(bench.from(&pod)).is_err(), "{path}");
    }
}

#[test]
fn a_service_account_volume_has_token_ca_and_namespace_in_memory() {
    let mut bench = Bench::new();
    let request = TokenRequest { audience: String::new(), seconds: 3607 };
    let token = Token { text: "tok".into(), renew: Timestamp::now() };
    bench.objects.tokens.insert(request, Ok(token));
    bench.config_map(json!({ "ca.crt": "PEM" }));
    let pod = pod(json!({ "name": "v", "projected": { "defaultMode": 0o644, "sources": [
        { "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } },
        { "configMap": { "name": "cm", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
        { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "fieldPath": "metadata.namespace" } }] } },
    ] } }));
    sync(bench.from(&pod)).expect("volumes");
    let dir = bench.from(&pod).dir("projected", "v");
    for (file, content) in [("token", "tok"), ("ca.crt", "PEM"), ("namespace", "default")] {
        assert_eq!(fs::read_to_string(dir.join(file)).expect("a file"), content);
    }
    assert_eq!(mounts::below(&bench.settings.root).expect("mounts"), std::slice::from_ref(&dir));
    teardown("u1", &bench.settings).expect("teardown");
    assert!(!bench.settings.pod_dir("u1").exists());
    assert_eq!(mounts::below(&bench.settings.root).expect("mounts"), Vec::<PathBuf>::new());
}

#[test]
fn secrets_belong_to_the_group_asked_for() {
    let mut bench = Bench::new();
    let secret: Secret = serde_json::from_value(json!({ "data": { "k": "djE=" } })).expect("a secret");
    bench.objects.secrets.insert("s".into(), Ok(secret));
    let mut pod = pod(json!({ "name": "v", "secret": { "secretName": "s", "defaultMode": 0o400 } }));
    pod.spec.as_mut().expect("a spec").security_context =
        Some(serde_json::from_value(json!({ "fsGroup": 1234 })).expect("a context"));
    sync(bench.from(&pod)).expect("volumes");
    let meta = fs::metadata(bench.from(&pod).dir("secret", "v").join("k")).expect("a file");
    assert_eq!(
        (std::os::unix::fs::MetadataExt::gid(&meta), meta.permissions().mode() & 0o777),
        (1234, 0o440)
    );
    teardown("u1", &bench.settings).expect("teardown");
}

#[test]
fn a_sub_path_is_pinned_and_cannot_lead_out_of_its_volume() {
    let bench = Bench::new();
    let mut pod = pod(json!({ "name": "v", "emptyDir": {} }));
    sync(bench.from(&pod)).expect("volumes");
    let volume = bench.from(&pod).dir("empty-dir", "v");
    let set = |pod: &mut Pod, sub: &str| {
        let spec = pod.spec.as_mut().expect("a spec");
        spec.containers[0].volume_mounts.as_mut().expect("mounts")[0].sub_path_expr = Some(sub.to_owned());
    };
    let known = BTreeMap::from([("NAME".to_owned(), "x".to_owned())]);
    let mounts =
        |pod: &Pod| for_container(bench.from(pod), &pod.spec.as_ref().expect("a spec").containers[0], &known);

    set(&mut pod, "deep/$(NAME)");
    let path = PathBuf::from(&mounts(&pod).expect("mounts")[0].host_path);
    fs::write(path.join("f"), "hello").expect("a file");
    assert_eq!(fs::read_to_string(volume.join("deep/x/f")).expect("a file"), "hello");
    mounts(&pod).expect("a second start of the container");

    std::os::unix::fs::symlink("/etc", volume.join("evil")).expect("a link");
    set(&mut pod, "evil");
    assert!(mounts(&pod).is_err(), "a symlink out of the volume");
    set(&mut pod, "../x");
    assert!(mounts(&pod).is_err());
    set(&mut pod, "$(UNKNOWN)");
    assert!(mounts(&pod).is_err());

    teardown("u1", &bench.settings).expect("teardown");
    assert_eq!(mounts::below(&bench.settings.root).expect("mounts"), Vec::<PathBuf>::new());
}

#[test]
fn teardown_does_not_delete_what_lies_behind_a_mount() {
    let bench = Bench::new();
    let host = tempfile::tempdir().expect("a folder");
    fs::write(host.path().join("precious"), "x").expect("a file");
    let mut pod = pod(json!({ "name": "v", "hostPath": { "path": host.path(), "type": "Directory" } }));
    fs::create_dir(host.path().join("sub")).expect("a folder");
    fs::write(host.path().join("sub/precious"), "x").expect("a file");
    pod.spec.as_mut().expect("a spec").containers[0].volume_mounts.as_mut().expect("mounts")[0].sub_path =
        Some("sub".into());
    let container = pod.spec.as_ref().expect("a spec").containers[0].clone();
    for_container(bench.from(&pod), &container, &BTreeMap::new()).expect("mounts");
    teardown("u1", &bench.settings).expect("teardown");
    assert!(host.path().join("precious").exists() && host.path().join("sub/precious").exists());
}

#[test]
fn a_host_path_of_the_wrong_kind_is_refused() {
    let host = tempfile::tempdir().expect("a folder");
    let bench = Bench::new();
    let check = |path: PathBuf, kind: &str| {
        sync(bench.from(&pod(json!({ "name": "v", "hostPath": { "path": path, "type": kind } }))))
    };
    check(host.path().join("made"), "DirectoryOrCreate").expect("made");
    check(host.path().join("made"), "Directory").expect("it is one");
    let error = check(host.path().join("made"), "File").expect_err("it is none");
    assert!(error.to_string().contains("is not a file"), "{error}");
    assert!(check(host.path().join("none"), "Directory").is_err());
    check(host.path().join("file"), "FileOrCreate").expect("made");
}

#[test]
fn an_empty_dir_in_memory_is_mounted_once() {
    let bench = Bench::new();
    let pod = pod(json!({ "name": "v", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }));
    sync(bench.from(&pod)).expect("volumes");
    sync(bench.from(&pod)).expect("again");
    assert_eq!(mounts::below(&bench.settings.root).expect("mounts").len(), 1);
    let dir = bench.from(&pod).dir("empty-dir", "v");
    assert!(fs::write(dir.join("big"), vec![0; 2 << 20]).is_err(), "the limit holds");
    teardown("u1", &bench.settings).expect("teardown");
}
