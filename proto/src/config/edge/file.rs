//! The file as a whole: where it is, what of it is shown first, what of it has no effect, what makes no sense.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{EdgeCore, MqttMode};
use crate::config::{ConfigFile, Objection, kubelet};
use crate::pki::NodeName;

impl ConfigFile for EdgeCore {
    const PATH: &'static str = "/etc/kubeedge/config/edgecore.yaml";

    const MINIMAL: &'static [&'static str] = &[
        "apiVersion",
        "kind",
        "database",
        "modules.edged.enable",
        "modules.edged.hostnameOverride",
        "modules.edged.nodeIP",
        "modules.edged.rootDirectory",
        "modules.edged.podSandboxImage",
        "modules.edged.tailoredKubeletConfig.containerRuntimeEndpoint",
        "modules.edged.tailoredKubeletConfig.imageServiceEndpoint",
        "modules.edged.tailoredKubeletConfig.cgroupDriver",
        "modules.edged.tailoredKubeletConfig.staticPodPath",
        "modules.edgeHub.enable",
        "modules.edgeHub.heartbeat",
        "modules.edgeHub.httpServer",
        "modules.edgeHub.tlsCaFile",
        "modules.edgeHub.tlsCertFile",
        "modules.edgeHub.tlsPrivateKeyFile",
        "modules.edgeHub.token",
        "modules.edgeHub.websocket",
        "modules.eventBus.enable",
        "modules.eventBus.mqttMode",
        "modules.eventBus.mqttServerExternal",
        "modules.eventBus.mqttServerInternal",
        "modules.eventBus.mqttQOS",
        "modules.eventBus.mqttRetain",
        "modules.eventBus.mqttSessionQueueSize",
        "modules.deviceTwin",
    ];

    fn without_effect() -> Value {
        json!({
            "edgecoreVersion": "",
            "database": {"driverName": "sqlite3", "aliasName": "default"},
            "modules": {
                "edged": {
                    "registerNodeNamespace": "default",
                    "runtimeCgroups": "",
                    "seccompDefault": false,
                    "experimentalMounterPath": "",
                    "experimentalNodeAllocatableIgnoreEvictionThreshold": false,
                    "tailoredKubeletConfig": kubelet::without_effect(),
                },
                "metaManager": {
                    "contextSendGroup": "hub",
                    "contextSendModule": "websocket",
                    "metaServer": {"apiAudiences": null, "serviceAccountKeyFiles": null},
                },
                "edgeStream": {"readDeadline": 15, "writeDeadline": 15},
            },
        })
    }

    fn check(&self) -> Result<(), Objection> {
        let no = |key, reason: String| Err(Objection { key, reason });
        let modules = &self.modules;
        if let Err(invalid) = self.node_name().parse::<NodeName>() {
            return no("modules.edged.hostnameOverride", invalid.to_string());
        }
        if !modules.edged.node_ip.is_empty() && modules.edged.node_ip.parse::<IpAddr>().is_err() {
            return no(
                "modules.edged.nodeIP",
                format!("{:?} is no address: write one, or nothing to find it", modules.edged.node_ip),
            );
        }
        if !matches!(modules.edged.tailored_kubelet_config.cgroup_driver.as_str(), "cgroupfs" | "systemd") {
            return no(
                "modules.edged.tailoredKubeletConfig.cgroupDriver",
                "must be cgroupfs or systemd, as the container runtime has it".into(),
            );
        }
        if modules.edge_hub.quic.enable {
            return no(
                "modules.edgeHub.quic.enable",
                "KubeEdge's QUIC predates RFC 9000 and cannot be spoken here: use the websocket".into(),
            );
        }
        if modules.edge_hub.enable && !modules.edge_hub.websocket.enable {
            return no(
                "modules.edgeHub.websocket.enable",
                "there is no other way to the cloud: set it to true".into(),
            );
        }
        if modules.edge_hub.heartbeat.0 == 0 {
            return no(
                "modules.edgeHub.heartbeat",
                "must be above 0; the cloud closes a link that is silent for 30 s".into(),
            );
        }
        if modules.edge_hub.max_message_bytes < 64 << 10 {
            return no(
                "modules.edgeHub.maxMessageBytes",
                "under 64 KiB, ordinary pods would not fit: write 65536 or more".into(),
            );
        }
        if !modules.edge_hub.http_server.starts_with("https://") {
            return no("modules.edgeHub.httpServer", "must start with https://".into());
        }
        let bus = &modules.event_bus;
        if bus.mqtt_qos > 2 {
            return no("modules.eventBus.mqttQOS", "must be 0, 1 or 2".into());
        }
        if bus.enable
            && bus.mqtt_mode == MqttMode::Both
            && bus.mqtt_server_internal == bus.mqtt_server_external
        {
            return no("modules.eventBus.mqttServerInternal", "with mqttMode 1 the embedded broker needs an address of its own: tcp://127.0.0.1:1884 is KubeEdge's".into());
        }
        Ok(())
    }
}
