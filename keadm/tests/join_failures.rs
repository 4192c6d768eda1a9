//! Each way in which a join can fail, with the cause and the next step that keadm tells.

mod harness;

use std::{net::SocketAddr, time::Duration};

use harness::{Behaviour, Cloud, Host, free_port, said, stderr};
use jiff::{SignedDuration, Timestamp};
use proto::pki::ServerNames;

const PREFLIGHT: i32 = 3;
const FAILED: i32 = 1;
const NOT_READY: i32 = 4;

/// An edgecore that runs until it is told to stop.
const IDLE: &str = "exec sleep 1000";

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

#[test]
fn a_closed_port_is_told_for_both_endpoints_at_once() {
    let (host, cloud) = (Host::new(IDLE), Cloud::start(Behaviour::default()));
    let (hub, https) = (nowhere(), nowhere());
    let output = host.join(hub, https, &cloud.token(None), &[]);
    let text =
        said(&output, PREFLIGHT, &["2 problems, nothing was changed", "connection refused", "--certport"]);
    assert!(text.contains(&hub.to_string()) && text.contains(&https.to_string()), "{text}");
    assert!(!host.path("etc/kubeedge").exists(), "nothing was changed");
}

#[test]
fn a_name_that_does_not_resolve_is_told_once() {
    let (host, cloud) = (Host::new(IDLE), Cloud::start(Behaviour::default()));
    let token = cloud.token(None);
    let broker = format!(
        "modules.edged.enable=false,modules.edged.tailoredKubeletConfig.readOnlyPort=0,\
         modules.eventBus.mqttServerInternal=tcp://127.0.0.1:{}",
        free_port()
    );
    let output =
        host.keadm(&["join", "-e", "cloud.invalid:10000", "-t", &token, "-i", "edge1", "--set", &broker]);
    said(&output, PREFLIGHT, &["1 problem,", "the name cloud.invalid cannot be resolved", "/etc/hosts"]);
}

#[test]
fn a_port_that_does_not_speak_tls_is_told() {
    let host = Host::new(IDLE);
    let cloud = Cloud::start(Behaviour::default());
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let plain = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    });
    let output = host.join(plain, cloud.https, &cloud.token(None), &[]);
    server.join().unwrap();
    said(&output, PREFLIGHT, &["does not speak TLS", "KubeEdge's ports are 10000 and 10002"]);
}

#[test]
fn a_certificate_for_other_addresses_names_them() {
    let names =
        ServerNames { ips: ["10.9.8.7".parse().unwrap()].into(), dns: ["cloud.example".to_owned()].into() };
    let (host, cloud) = (Host::new(IDLE), Cloud::start(Behaviour { names, ..Behaviour::default() }));
    let output = host.join(cloud.https, cloud.https, &cloud.token(None), &[]);
    let text =
        said(&output, PREFLIGHT, &["not for 127.0.0.1", "10.9.8.7", "cloud.example", "advertiseAddress"]);
    assert!(text.contains("1 problem,"), "{text}");
}

#[test]
fn a_token_of_another_cloud_shows_both_hashes() {
    let (host, cloud, other) =
        (Host::new(IDLE), Cloud::start(Behaviour::default()), Cloud::start(Behaviour::default()));
    let token = other.token(None);
    let output = host.join(cloud.https, cloud.https, &token, &[]);
    let hash = token.split('.').next().unwrap();
    said(&output, PREFLIGHT, &["is not the one that the token was made for", hash, "keadm gettoken"]);
}

#[test]
fn an_expired_token_says_since_when() {
    let (host, cloud) = (Host::new(IDLE), Cloud::start(Behaviour::default()));
    let yesterday = Timestamp::now() - SignedDuration::from_hours(30);
    let token = cloud.token_of(Duration::from_secs(3600), None, yesterday);
    let output = host.join(cloud.https, cloud.https, &token, &[]);
    said(&output, PREFLIGHT, &["the token has expired", "29 h ago", "keadm gettoken"]);
}

#[test]
fn a_token_of_another_node_names_it() {
    let (host, cloud) = (Host::new(IDLE), Cloud::start(Behaviour::default()));
    let output = host.join(cloud.https, cloud.https, &cloud.token(Some("kitchen")), &[]);
    said(
        &output,
        PREFLIGHT,
        &["the token is not for edge1", "bound to node kitchen", "keadm gettoken --node edge1"],
    );
}

#[test]
fn a_cut_token_is_recognised() {
    let (host, cloud) = (Host::new(IDLE), Cloud::start(Behaviour::default()));
    let token = cloud.token(None);
    let output = host.join(cloud.https, cloud.https, &token[..80], &[]);
    said(&output, PREFLIGHT, &["--token cannot be used", "four parts", "keadm gettoken"]);
}

#[test]
fn clocks_that_differ_by_hours_are_told() {
    let date = Some(Timestamp::now() + SignedDuration::from_hours(5));
    let (host, cloud) = (Host::new(IDLE), Cloud::start(Behaviour { date, ..Behaviour::default() }));
    let output = host.join(cloud.https, cloud.https, &cloud.token(None), &[]);
    said(&output, PREFLIGHT, &["the clock of this host is wrong", "behind cloudcore", "timedatectl"]);
}

#[test]
fn a_name_that_is_taken_says_how_to_free_it() {
    let behaviour = Behaviour { taken: Some("edge1"), ..Behaviour::default() };
    let (host, cloud) = (Host::new(IDLE), Cloud::start(behaviour));
    let output = host.join(cloud.https, cloud.https, &cloud.token(None), &[]);
    said(&output, PREFLIGHT, &["a node named edge1 exists already", "kubectl delete node edge1"]);
}

#[test]
fn no_runtime_a_dead_one_and_one_without_cri_are_told_apart() {
    let (host, cloud) = (Host::new(IDLE), Cloud::start(Behaviour::default()));
    let socket = host.path("cri.sock");
    let endpoint = format!("--remote-runtime-endpoint=unix://{}", socket.display());
    let with_pods = [endpoint.as_str(), "--set", "modules.edged.enable=true"];
    let join = || host.join(cloud.https, cloud.https, &cloud.token(None), &with_pods);
    said(&join(), PREFLIGHT, &["there is no socket at", "apt-get install containerd"]);
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    said(&join(), PREFLIGHT, &["does not accept connections", "systemctl start containerd"]);
}

#[test]
fn a_docker_socket_is_asked_as_docker_and_what_is_missing_is_told() {
    let (host, cloud) = (Host::new(IDLE), Cloud::start(Behaviour::default()));
    let socket = host.path("docker.sock");
    let endpoint = format!("--remote-runtime-endpoint=unix://{}", socket.display());
    let with_pods = [endpoint.as_str(), "--set", "modules.edged.enable=true"];
    let join = || host.join(cloud.https, cloud.https, &cloud.token(None), &with_pods);
    said(&join(), PREFLIGHT, &["there is no socket at", "apt-get install docker.io"]);
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    said(&join(), PREFLIGHT, &["does not accept connections", "systemctl start docker"]);
}

#[test]
fn a_taken_port_names_who_has_it() {
    let (host, cloud) = (Host::new(IDLE), Cloud::start(Behaviour::default()));
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let broker = format!("modules.eventBus.mqttServerInternal=tcp://{}", listener.local_addr().unwrap());
    let output = host.join(cloud.https, cloud.https, &cloud.token(None), &["--set", &broker]);
    let own = format!("(pid {}) listens on it", std::process::id());
    said(&output, PREFLIGHT, &["the embedded MQTT broker needs it", &own, "modules.eventBus.mqttMode=2"]);
}

#[test]
fn every_problem_is_told_at_once() {
    let (host, cloud) = (Host::new(IDLE), Cloud::start(Behaviour::default()));
    let token =
        cloud.token_of(Duration::from_secs(60), None, Timestamp::now() - SignedDuration::from_hours(1));
    let more =
        ["--cgroupdriver", "cgroupsv3", "--hub-protocol", "quic", "--set", "modules.edgeHub.heartbeet=1"];
    let output = host.join(nowhere(), cloud.https, &token, &more);
    said(
        &output,
        PREFLIGHT,
        &["unsupported CGroupDriver: cgroupsv3", "before RFC 9000", "No such field: heartbeet in EdgeCore"],
    );
}

#[test]
fn a_key_that_does_not_exist_and_a_value_of_the_wrong_type_are_refused() {
    let (host, cloud) = (Host::new(IDLE), Cloud::start(Behaviour::default()));
    let join = |set: &str| host.join(cloud.https, cloud.https, &cloud.token(None), &["--set", set]);
    said(&join("modules.edgeStrem.enable=true"), PREFLIGHT, &["No such field", "did you mean edgeStream"]);
    said(
        &join("modules.edgeHub.heartbeat=often"),
        PREFLIGHT,
        &["modules.edgeHub.heartbeat cannot have this value"],
    );
    said(&join("modules.edged"), PREFLIGHT, &["has no `=`"]);
}

#[test]
fn cloudcores_refusal_of_the_token_is_told_in_its_words() {
    let behaviour = Behaviour { refuses: Some((401, "the token was revoked")), ..Behaviour::default() };
    let (host, cloud) = (Host::new(IDLE), Cloud::start(behaviour));
    let output = host.join(cloud.https, cloud.https, &cloud.token(None), &[]);
    said(&output, FAILED, &["it refuses the token: the token was revoked", "keadm gettoken --node edge1"]);
    assert!(!host.path("etc/kubeedge").exists(), "nothing was changed");
}

#[test]
fn an_edgecore_that_dies_shows_its_last_words() {
    let (host, cloud) =
        (Host::new("echo 'ERROR the disk is on fire' >&2; exit 64"), Cloud::start(Behaviour::default()));
    let output = host.join(cloud.https, cloud.https, &cloud.token(None), &[]);
    let text = stderr(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("the disk is on fire"), "{text}");
}

#[test]
fn a_node_that_does_not_register_says_what_is_known_and_can_be_joined_again() {
    let (host, cloud) =
        (Host::new("echo 'ERROR the link is down'; exec sleep 1000"), Cloud::start(Behaviour::default()));
    let join = || host.join(cloud.https, cloud.https, &cloud.token(None), &[]);
    said(
        &join(),
        NOT_READY,
        &[
            "edgecore runs and keeps trying",
            "edgecore does not answer at",
            "the link is down",
            "keadm reset edge",
        ],
    );
    said(
        &join(),
        PREFLIGHT,
        &["EdgeCore is already running on this node, please run reset to clean up first"],
    );
    let reset = host.keadm(&["reset", "edge", "--force"]);
    let told = String::from_utf8_lossy(&reset.stdout).into_owned();
    assert!(
        reset.status.success() && told.contains("reset edge node successfully!"),
        "{told}{}",
        stderr(&reset)
    );
    for left in ["etc/kubeedge", "var/lib/kubeedge", "var/log/kubeedge", "run/kubeedge"] {
        assert!(!host.path(left).exists(), "{left} is left");
    }
}

#[test]
fn without_a_token_the_way_to_one_is_told() {
    let (host, cloud) = (Host::new(IDLE), Cloud::start(Behaviour::default()));
    let output = host.join(cloud.https, cloud.https, "", &[]);
    said(&output, PREFLIGHT, &["there is no token", "keadm gettoken"]);
}
