//! The file as a whole: where it is, what of it is shown first, what of it has no effect, what makes no sense.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::CloudCore;
use crate::config::{ConfigFile, Objection, Span};

impl ConfigFile for CloudCore {
    const PATH: &'static str = "/etc/kubeedge/config/cloudcore.yaml";

    const MINIMAL: &'static [&'static str] = &[
        "apiVersion",
        "kind",
        "kubeAPIConfig",
        "modules.controlPlane.enable",
        "modules.controlPlane.dataDir",
        "modules.controlPlane.address",
        "modules.controlPlane.port",
        "modules.controlPlane.adminKubeConfig",
        "modules.cloudHub.enable",
        "modules.cloudHub.advertiseAddress",
        "modules.cloudHub.dnsNames",
        "modules.cloudHub.nodeLimit",
        "modules.cloudHub.tlsCAFile",
        "modules.cloudHub.tlsCAKeyFile",
        "modules.cloudHub.tlsCertFile",
        "modules.cloudHub.tlsPrivateKeyFile",
        "modules.cloudHub.websocket",
        "modules.cloudHub.https",
        "modules.router",
    ];

    fn without_effect() -> Value {
        let buffer: serde_json::Map<String, Value> = [
            "updatePodStatus",
            "updateNodeStatus",
            "processEvent",
            "queryConfigMap",
            "querySecret",
            "queryPersistentVolume",
            "queryPersistentVolumeClaim",
            "queryVolumeAttachment",
            "createNode",
            "updateNode",
            "patchPod",
            "deletePod",
            "queryLease",
            "serviceAccountToken",
            "createPod",
            "certificateSigningRequest",
        ]
        .into_iter()
        .map(|key| (key.to_owned(), json!(1024)))
        .chain(
            ["podEvent", "configMapEvent", "secretEvent", "rulesEvent", "ruleEndpointsEvent"]
                .map(|key| (key.to_owned(), json!(1))),
        )
        .chain([
            ("patchNode".to_owned(), json!(1274)),
            ("queryNode".to_owned(), json!(1524)),
            ("createLease".to_owned(), json!(1524)),
        ])
        .collect();
        json!({
            "commonConfig": {"tunnelPort": 10350, "monitorServer": {"enableProfiling": false}},
            "kubeAPIConfig": {"contentType": "application/vnd.kubernetes.protobuf", "qps": 2500, "burst": 5000},
            "modules": {
                "cloudHub": {"quic": {"address": "0.0.0.0", "port": 10001, "maxIncomingStreams": 10000}},
                "edgeController": {
                    "buffer": buffer,
                    "load": {
                        "updatePodStatusWorkers": 1, "updateNodeStatusWorkers": 1, "processEventWorkers": 4,
                        "queryConfigMapWorkers": 100, "querySecretWorkers": 100, "queryPersistentVolumeWorkers": 4,
                        "queryPersistentVolumeClaimWorkers": 4, "queryVolumeAttachmentWorkers": 4, "createNodeWorkers": 100,
                        "patchNodeWorkers": 110, "queryNodeWorkers": 500, "updateNodeWorkers": 4, "patchPodWorkers": 100,
                        "deletePodWorkers": 100, "createLeaseWorkers": 500, "queryLeaseWorkers": 100,
                        "UpdateRuleStatusWorkers": 4, "ServiceAccountTokenWorkers": 100, "CreatePodWorks": 4,
                        "certificateSigningRequestWorkers": 4,
                    },
                },
                "deviceController": {
                    "buffer": {
                        "updateDeviceTwins": 1024, "updateDeviceStatus": 1024, "deviceEvent": 1, "deviceModelEvent": 1,
                        "deviceStatusEvent": 0,
                    },
                    "load": {"updateDeviceStatusWorkers": 1},
                },
                "taskManager": {"buffer": {"taskStatus": 1024, "taskEvent": 1}, "load": {"taskWorkers": 1}},
            },
        })
    }

    fn check(&self) -> Result<(), Objection> {
        let hub = &self.modules.cloud_hub;
        let no = |key, reason: &str| Err(Objection { key, reason: reason.to_owned() });
        if hub.quic.enable {
            return no(
                "modules.cloudHub.quic.enable",
                "KubeEdge's QUIC predates RFC 9000 and cannot be spoken here: set it to false, edges then use the websocket",
            );
        }
        if hub.enable && hub.advertise_address.is_empty() && hub.dns_names.iter().all(String::is_empty) {
            return no(
                "modules.cloudHub.advertiseAddress",
                "no address and no name: edges could not verify this cloudcore; write the address that they reach it by",
            );
        }
        if hub.token_refresh_duration == 0 {
            return no(
                "modules.cloudHub.tokenRefreshDuration",
                "a token must live: write a number of hours above 0",
            );
        }
        if hub.edge_cert_signing_duration == 0 {
            return no(
                "modules.cloudHub.edgeCertSigningDuration",
                "a certificate must live: write a number of days above 0",
            );
        }
        if hub.max_message_bytes < 64 << 10 {
            return no(
                "modules.cloudHub.maxMessageBytes",
                "under 64 KiB, ordinary pods would not fit: write 65536 or more",
            );
        }
        if hub.unixsocket.enable && !hub.unixsocket.address.starts_with("unix://") {
            return no("modules.cloudHub.unixsocket.address", "must start with unix://");
        }
        if !matches!(self.modules.iptables_manager.mode.as_str(), "internal" | "external") {
            return no("modules.iptablesManager.mode", "must be internal or external");
        }
        let audit = &self.modules.control_plane.audit;
        let unset = |path: &PathBuf| path.as_os_str().is_empty();
        if unset(&audit.path) && !unset(&audit.policy) {
            return no(
                "modules.controlPlane.audit.path",
                "there is a policy but no log: write the file that the log goes to, or take the policy out",
            );
        }
        if !(unset(&audit.path) || audit.path.is_absolute()) {
            return no("modules.controlPlane.audit.path", "write the whole path, from / on");
        }
        let plane = &self.modules.control_plane;
        if !(unset(&plane.encryption_config) || plane.encryption_config.is_absolute()) {
            return no("modules.controlPlane.encryptionConfig", "write the whole path, from / on");
        }
        if !unset(&plane.encryption_config) && plane.encrypt_secrets {
            return no(
                "modules.controlPlane.encryptSecrets",
                "encryptionConfig says already what is encrypted: set this to false; what it has encrypted stays readable",
            );
        }
        if plane.node_monitor_grace_period < Span::seconds(20) {
            return no(
                "modules.controlPlane.nodeMonitorGracePeriod",
                "a node renews its lease every 10 s, and one that is lost must not count: write 20s or more",
            );
        }
        if audit.max_size_mb == 0 {
            return no("modules.controlPlane.audit.maxSizeMB", "a file must hold something: write 1 or more");
        }
        if self.embedded() && !self.modules.control_plane.enable {
            return no(
                "modules.controlPlane.enable",
                "it is off and kubeAPIConfig names no other Kubernetes API: enable it, or set kubeAPIConfig.kubeConfig",
            );
        }
        Ok(())
    }
}
