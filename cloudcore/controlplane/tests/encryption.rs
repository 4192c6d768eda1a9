//! Secrets at rest: nowhere in the clear, readable for as long as their key is there; other resources as a file wants it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use controlplane::ControlPlane;
use http_body_util::BodyExt;
use proto::backup::{SNAPSHOT_PATH, STORE_FILE};
use serde_json::{Value, json};
use support::{Cluster, config, expect};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
/// In base64, as it would stand in the file.
const PLAIN: &str = "bm9ib2R5IG1heSByZWFkIHRoaXM=";

async fn sealed(dir: tempfile::TempDir) -> Cluster {
    Cluster::start_with(dir, |config| config.encrypt_secrets = true).await
}

async fn create(cluster: &Cluster, name: &str) {
    let secret = json!({"metadata": {"name": name}, "data": {"password": PLAIN}});
    expect(cluster.call("POST", SECRETS, secret), 201).await;
}

async fn reads(cluster: &Cluster, name: &str) -> bool {
    cluster.call("GET", &format!("{SECRETS}/{name}"), Value::Null).await.1["data"]["password"] == PLAIN
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// The files of the store in which the secret's value stands.
fn leaks(dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(dir.join("data")).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file() && contains(&std::fs::read(path).unwrap(), PLAIN))
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_file_its_log_or_a_snapshot() {
    let cluster = sealed(tempfile::tempdir().unwrap()).await;
    create(&cluster, "s").await;
    assert!(reads(&cluster, "s").await);
    assert_eq!(leaks(cluster.dir.path()), [""; 0]);
    let key = std::fs::metadata(cluster.path("data/pki/secrets.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);

    let request = http::Request::builder().uri(SNAPSHOT_PATH).body(Vec::new().into()).unwrap();
    let response = cluster.client.send(request).await.unwrap();
    #[allow(clippy::disallowed_methods, reason = "our own server's answers are bounded")]
    let image = response.into_body().collect().await.unwrap().to_bytes();
    assert!(!contains(&image, PLAIN));
    let dir = cluster.stop().await;
    assert_eq!(leaks(dir.path()), [""; 0]);
    for end in ["", "-wal", "-shm"] {
        std::fs::remove_file(dir.path().join(format!("data/{STORE_FILE}{end}"))).unwrap_or_default();
    }
    std::fs::write(dir.path().join("data").join(STORE_FILE), &image).unwrap();
    let cluster = sealed(dir).await;
    assert!(reads(&cluster, "s").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_is_encrypted_at_the_next_start_and_back_again() {
    let cluster = Cluster::start().await;
    create(&cluster, "old").await;
    create(&cluster, "gone").await;
    expect(cluster.call("DELETE", &format!("{SECRETS}/gone"), Value::Null), 200).await;
    let dir = cluster.stop().await;
    assert_eq!(leaks(dir.path()), [STORE_FILE]);
    let cluster = sealed(dir).await;
    assert_eq!(leaks(cluster.dir.path()), [""; 0]);
    assert!(reads(&cluster, "old").await);
    create(&cluster, "new").await;
    let cluster = Cluster::start_in(cluster.stop().await).await;
    assert!(reads(&cluster, "old").await && reads(&cluster, "new").await);
    assert_eq!(leaks(cluster.stop().await.path()), [STORE_FILE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_in_front_takes_over_and_the_old_one_may_go() {
    let cluster = sealed(tempfile::tempdir().unwrap()).await;
    create(&cluster, "s").await;
    let dir = cluster.stop().await;
    let file = dir.path().join("data/pki/secrets.key");
    let (old, new) = (std::fs::read_to_string(&file).unwrap(), STANDARD.encode([7; 32]));
    std::fs::write(&file, format!("# since May\n{new}\n{old}")).unwrap();
    let cluster = sealed(dir).await;
    assert!(reads(&cluster, "s").await);
    let dir = cluster.stop().await;
    std::fs::write(&file, format!("{new}\n")).unwrap();
    let cluster = sealed(dir).await;
    assert!(reads(&cluster, "s").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_key_the_store_says_what_is_missing_and_changes_nothing() {
    let cluster = sealed(tempfile::tempdir().unwrap()).await;
    create(&cluster, "s").await;
    let dir = cluster.stop().await;
    let file = dir.path().join("data/pki/secrets.key");
    let key = std::fs::read(&file).unwrap();
    let refused = |encrypt: bool| {
        let mut config = config(dir.path());
        config.encrypt_secrets = encrypt;
        async move { ControlPlane::open(config).await.unwrap_err().to_string() }
    };
    std::fs::remove_file(&file).unwrap();
    for encrypt in [true, false] {
        let said = refused(encrypt).await;
        assert!(said.contains("secrets default/s is encrypted with the key "), "{said}");
        assert!(said.contains("secrets.key: put that file back from a backup"), "{said}");
        assert!(!file.exists(), "no new key takes the place of the missing one");
    }
    std::fs::write(&file, STANDARD.encode([9; 32])).unwrap();
    assert!(refused(true).await.contains("is encrypted with the key "));
    std::fs::write(&file, "not a key").unwrap();
    let said = refused(true).await;
    assert!(said.contains("secrets.key is not usable: line 1 is not 32 bytes in base64"), "{said}");
    std::fs::write(&file, key).unwrap();
    let cluster = sealed(dir).await;
    assert!(reads(&cluster, "s").await);
}

/// An `EncryptionConfiguration` beside the data; its first provider seals.
fn rules(dir: &tempfile::TempDir, rules: Value) -> std::path::PathBuf {
    let path = dir.path().join("encryption.yaml");
    let file = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": rules});
    std::fs::write(&path, file.to_string()).unwrap();
    path
}

fn keys(name: &str, byte: u8) -> Value {
    json!({"keys": [{"name": name, "secret": STANDARD.encode([byte; 32])}]})
}

async fn ruled(dir: tempfile::TempDir, said: Value) -> Cluster {
    let path = rules(&dir, said);
    Cluster::start_with(dir, |config| config.encryption = Some(path)).await
}

fn sealed_by(dir: &Path, prefix: &str) -> bool {
    contains(&std::fs::read(dir.join("data").join(STORE_FILE)).unwrap(), prefix)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_encryption_configuration_are_rotated_by_the_order_of_its_providers() {
    // With the keys of encryptSecrets first, which still open.
    let cluster = sealed(tempfile::tempdir().unwrap()).await;
    create(&cluster, "s").await;
    let cbc = json!({"aescbc": keys("first", 1)});
    let gcm = json!({"aesgcm": keys("second", 2)});
    let secretbox = json!({"secretbox": keys("third", 3)});
    let identity = json!({"identity": {}});
    let mut dir = cluster.stop().await;
    for (providers, prefix) in [
        (json!([cbc, identity]), "k8s:enc:aescbc:v1:first:"),
        (json!([gcm, cbc]), "k8s:enc:aesgcm:v1:second:"),
        (json!([secretbox, gcm]), "k8s:enc:secretbox:v1:third:"),
        // The one before may go as soon as nothing is sealed with it.
        (json!([secretbox]), "k8s:enc:secretbox:v1:third:"),
    ] {
        let cluster = ruled(dir, json!([{"resources": ["secrets"], "providers": providers}])).await;
        assert!(reads(&cluster, "s").await, "{prefix}");
        dir = cluster.stop().await;
        assert_eq!(leaks(dir.path()), [""; 0], "{prefix}");
        assert!(sealed_by(dir.path(), prefix), "{prefix}");
        for other in ["aescbc", "aesgcm", "secretbox"].iter().filter(|other| !prefix.contains(**other)) {
            assert!(!sealed_by(dir.path(), &format!("k8s:enc:{other}:")), "{other} is left beside {prefix}");
        }
    }
    // Back into the clear.
    let cluster = ruled(dir, json!([{"resources": ["secrets"], "providers": [identity, secretbox]}])).await;
    assert!(reads(&cluster, "s").await);
    let cluster = Cluster::start_in(cluster.stop().await).await;
    assert!(reads(&cluster, "s").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encryption_configuration_seals_what_it_names_and_nothing_else() {
    let said = json!([
        {"resources": ["configmaps", "*.example.com"], "providers": [{"secretbox": keys("k", 1)}]},
    ]);
    let cluster = ruled(tempfile::tempdir().unwrap(), said).await;
    let map = |name: &str, text: &str| json!({"metadata": {"name": name}, "data": {"text": text}});
    let maps = "/api/v1/namespaces/default/configmaps";
    expect(cluster.call("POST", maps, map("m", "sealed words")), 201).await;
    create(&cluster, "s").await;
    let dir = cluster.stop().await;
    let file = std::fs::read(dir.path().join("data").join(STORE_FILE)).unwrap();
    assert!(!contains(&file, "sealed words") && contains(&file, PLAIN));

    // Without its key nothing starts and nothing is changed.
    let refused = async |path: Option<std::path::PathBuf>| {
        let mut config = config(dir.path());
        config.encryption = path;
        ControlPlane::open(config).await.unwrap_err().to_string()
    };
    let other = rules(&dir, json!([{"resources": ["secrets"], "providers": [{"identity": {}}]}]));
    let wrong = refused(Some(other)).await;
    assert!(
        wrong.contains("is encrypted with the key secretbox:k, which is not in ")
            && wrong.contains("encryption.yaml"),
        "{wrong}"
    );
    let unset = refused(None).await;
    assert!(
        unset.contains("secretbox:k, which is not in the file of modules.controlPlane.encryptionConfig"),
        "{unset}"
    );
    let missing = refused(Some("/no/such/file".into())).await;
    assert!(missing.contains("cannot read the encryption configuration /no/such/file"), "{missing}");
    let said = json!([{"resources": ["configmaps"], "providers": [{"secretbox": keys("k", 1)}]}]);
    let cluster = ruled(dir, said).await;
    let read = cluster.call("GET", &format!("{maps}/m"), Value::Null).await.1;
    assert_eq!(read["data"]["text"], "sealed words");
}
