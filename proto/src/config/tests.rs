use super::*;

fn edge(text: &str) -> Result<(EdgeCore, Vec<Warning>), ConfigError> {
    EdgeCore::parse(text, Path::new("/etc/kubeedge/config/edgecore.yaml"))
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(edge("").unwrap(), (EdgeCore::default(), vec![]));
    assert_eq!(edge("modules:\n").unwrap(), (EdgeCore::default(), vec![]));
}

#[test]
fn printed_defaults_read_back_as_the_defaults_without_a_warning() {
    for text in [EdgeCore::default_yaml(), EdgeCore::min_yaml(), EdgeCore::default().to_yaml()] {
        assert_eq!(edge(&text).unwrap(), (EdgeCore::default(), vec![]), "{text}");
    }
    for text in [CloudCore::default_yaml(), CloudCore::min_yaml(), CloudCore::default().to_yaml()] {
        let (config, warnings) = CloudCore::parse(&text, Path::new("c.yaml")).unwrap();
        assert_eq!((config, warnings), (CloudCore::default(), vec![]), "{text}");
    }
}

#[test]
fn a_minimal_file_starts_an_edge_that_connects() {
    let text = EdgeCore::min_yaml();
    assert!(text.starts_with("# ") && text.lines().take_while(|l| l.starts_with('#')).count() == 3);
    assert!(!text.contains("enable: false\n    heartbeat"), "{text}");
}

#[test]
fn keys_match_in_any_case_and_lists_and_maps_are_the_users() {
    let (config, warnings) = edge(
        "Modules:\n  EdgeHub:\n    WebSocket: {server: 'cloud.example.org:10000'}\n    Heartbeat: 20s\n  edged:\n    nodelabels: {zone: a, Rack: '7'}\n    tailoredKubeletConfig:\n      evictionHard: {memory.available: 50Mi}\n      registerWithTaints: [{key: edge, effect: NoSchedule}]\n",
    )
    .unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.modules.edge_hub.websocket.server, HostPort::new("cloud.example.org", 10000));
    assert_eq!(config.modules.edge_hub.websocket.handshake_timeout, Seconds(30));
    assert_eq!(config.modules.edge_hub.heartbeat, Seconds(20));
    assert_eq!(config.modules.edged.node_labels.len(), 2);
    let kubelet = config.modules.edged.tailored_kubelet_config;
    assert_eq!(kubelet.eviction_hard.unwrap().len(), 1);
    assert_eq!(kubelet.register_with_taints.unwrap()[0].key, "edge");
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    let (_, warnings) = edge("modules:\n  edgeHub:\n    hartbeat: 3\n  edged:\n    tailoredKubeletConfig: {maxPodz: 3, podsPerCore: 4, hairpinMode: none}\nfoo: 1\n").unwrap();
    let said: Vec<String> = warnings.iter().map(Warning::to_string).collect();
    assert_eq!(
        said,
        [
            "unknown key modules.edgeHub.hartbeat is ignored: did you mean heartbeat?",
            "unknown key modules.edged.tailoredKubeletConfig.maxPodz is ignored: did you mean maxPods?",
            "modules.edged.tailoredKubeletConfig.podsPerCore is KubeEdge's and has no effect here: it may be removed",
            "modules.edged.tailoredKubeletConfig.hairpinMode is KubeEdge's and has no effect here: it may be removed",
            "unknown key foo is ignored: remove it, or compare with --defaultconfig",
        ]
    );
}

#[test]
fn an_error_names_file_key_and_remedy() {
    for (text, expected) in [
        (
            "modules:\n  edgeHub:\n    heartbeat: soon\n",
            "/etc/kubeedge/config/edgecore.yaml: modules.edgeHub.heartbeat: \"soon\" is no duration: write one like 10s, 1m30s or 100ms",
        ),
        (
            "modules: {edged: {hostnameOverride: Edge_1}}",
            "modules.edged.hostnameOverride: \"Edge_1\" cannot name a node",
        ),
        ("modules: {eventBus: {mqttMode: 3}}", "modules.eventBus.mqttMode: 3 is no mode"),
        ("modules: {edgeHub: {quic: {enable: true}}}", "modules.edgeHub.quic.enable: KubeEdge's QUIC"),
        (
            "modules: {edgeHub: {websocket: {server: here}}}",
            "modules.edgeHub.websocket.server: \"here\" is no address",
        ),
        ("modules: {edged: 3}", "modules.edged: invalid type: integer `3`"),
        ("modules: [", "is not valid YAML"),
        ("- a\n", "expected keys and values"),
    ] {
        let error = edge(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let missing = EdgeCore::load(Path::new("/nonexistent/edgecore.yaml")).unwrap_err().to_string();
    assert!(
        missing.contains("cannot read /nonexistent/edgecore.yaml") && missing.contains("--minconfig"),
        "{missing}"
    );
}

#[test]
fn a_file_of_kubeedges_chart_is_taken_as_it_is() {
    let chart = "apiVersion: cloudcore.config.kubeedge.io/v1alpha2\nkind: CloudCore\nkubeAPIConfig: {kubeConfig: '', master: '', qps: 2500}\nmodules:\n  cloudHub:\n    advertiseAddress: [192.0.2.7]\n    dnsNames: [cloudcore.example.org]\n    nodeLimit: 1000\n    tlsCAFile: /etc/kubeedge/ca/rootCA.crt\n    quic: {address: 0.0.0.0, enable: false, maxIncomingStreams: 10000, port: 10001}\n    websocket: {address: 0.0.0.0, enable: true, port: 10000}\n    authorization: {enable: true, debug: false, modes: [{node: {enable: true}}]}\n  edgeController: {load: {ServiceAccountTokenWorkers: 100}}\n  iptablesManager: {enable: true, mode: external}\n";
    let (config, warnings) = CloudCore::parse(chart, Path::new("c.yaml")).unwrap();
    assert_eq!(warnings, []);
    assert!(config.embedded());
    assert_eq!(config.modules.cloud_hub.node_limit, 1000);
    assert!(config.modules.cloud_hub.authorization.modes[0].node.enable);
}

#[test]
fn a_node_may_not_be_given_up_for_one_lost_heartbeat() {
    let parse = |text: &str| CloudCore::parse(text, Path::new("c.yaml"));
    let (config, warnings) = parse("modules: {controlPlane: {nodeMonitorGracePeriod: 1m30s}}").unwrap();
    assert_eq!(
        (config.modules.control_plane.node_monitor_grace_period, warnings),
        (Span::seconds(90), vec![])
    );
    let refused = parse("modules: {controlPlane: {nodeMonitorGracePeriod: 10s}}").unwrap_err().to_string();
    assert!(
        refused.contains("modules.controlPlane.nodeMonitorGracePeriod") && refused.contains("20s or more"),
        "{refused}"
    );
}
