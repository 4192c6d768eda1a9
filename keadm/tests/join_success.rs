//! What a join leaves on a host, and what a second one does with it.

mod harness;

use std::os::unix::fs::PermissionsExt;

use harness::{Behaviour, Cloud, Host, stderr};
use proto::{
    config::{ConfigFile, EdgeCore},
    pki::{Identity, peer_node},
};

/// Says that the node exists once edgecore was started: the stand-in registers nothing by itself.
fn join(host: &Host, cloud: &Cloud) -> std::process::Output {
    host.join(cloud.https, cloud.https, &cloud.token(None), &["--labels=room=kitchen"])
}

#[test]
fn a_join_leaves_a_certificate_of_the_node_a_private_key_and_a_configuration_that_is_read_without_warnings() {
    let (host, cloud) = (Host::new("exec sleep 1000"), Cloud::start(Behaviour::default()));
    let output = join(&host, &cloud);
    assert!(stderr(&output).contains("starting background process edgecore"), "{}", stderr(&output));
    let (certificate, key) =
        (host.path("etc/kubeedge/certs/server.crt"), host.path("etc/kubeedge/certs/server.key"));
    let identity = Identity::load(&certificate, &key).unwrap().expect("both files are there");
    assert_eq!(peer_node(&identity.certificate).unwrap().as_str(), "edge1");
    assert!(cloud.authority.signed(&identity.certificate));
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let (config, warnings) = EdgeCore::load(&host.path("etc/kubeedge/config/edgecore.yaml")).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.node_name(), "edge1");
    assert_eq!(config.modules.edged.node_labels["room"], "kitchen");
    assert_eq!(config.modules.edge_hub.token, "", "the token is not written down");
}

#[test]
fn a_node_that_joined_before_is_started_again_without_a_token() {
    let (host, cloud) = (Host::new("exec sleep 1000"), Cloud::start(Behaviour::default()));
    join(&host, &cloud);
    let certificate = std::fs::read(host.path("etc/kubeedge/certs/server.crt")).unwrap();
    let stopped = host.keadm(&[
        "supervise",
        "stop",
        "--name",
        "edgecore",
        "--run-dir",
        &host.path("run/kubeedge").to_string_lossy(),
        "--log-dir",
        &host.path("var/log/kubeedge").to_string_lossy(),
    ]);
    assert!(stopped.status.success(), "{}", stderr(&stopped));
    let again = host.join(cloud.https, cloud.https, "", &[]);
    assert!(stderr(&again).contains("edge1 joined before"), "{}", stderr(&again));
    assert_eq!(std::fs::read(host.path("etc/kubeedge/certs/server.crt")).unwrap(), certificate);
    let other =
        host.keadm(&["join", "-e", "127.0.0.1:1", "-i", "edge2", "--set", "modules.edged.enable=false"]);
    assert!(!other.status.success());
}
