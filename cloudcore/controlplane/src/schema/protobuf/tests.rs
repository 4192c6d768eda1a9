use proptest::prelude::*;
use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::json;

use super::*;
use crate::registry::Registry;

/// A message from (number, bytes) and (number, integer) pairs.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn bytes(mut self, number: u32, value: impl AsRef<[u8]>) -> Self {
        encode_key(number, WireType::LengthDelimited, &mut self.0);
        encode_varint(value.as_ref().len() as u64, &mut self.0);
        self.0.extend_from_slice(value.as_ref());
        self
    }

    fn number(mut self, number: u32, value: i64) -> Self {
        encode_key(number, WireType::Varint, &mut self.0);
        encode_varint(value.cast_unsigned(), &mut self.0);
        self
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn body(api_version: &str, kind: &str, raw: &Message) -> Vec<u8> {
    let meta = Message::default().bytes(1, api_version).bytes(2, kind);
    let unknown = Message::default().bytes(1, &meta).bytes(2, raw).bytes(3, "").bytes(4, "");
    [MAGIC, unknown.as_ref()].concat()
}

fn read(body: &[u8]) -> Result<Value, ProtobufError> {
    Registry::new().resolve("", "v1", "pods").unwrap().decode_protobuf(body)
}

#[test]
fn a_deployment_as_kubectl_sends_it_is_read_without_its_zeros() {
    let labels = Message::default().bytes(1, "app").bytes(2, "nn");
    let meta = Message::default().bytes(1, "nn").bytes(2, "").bytes(8, "").bytes(11, &labels);
    let container =
        Message::default().bytes(1, "nginx").bytes(2, "nginx").bytes(5, "").bytes(8, "").number(18, 0);
    let pod = Message::default().bytes(2, &container).bytes(3, "").number(11, 0);
    let template = Message::default().bytes(1, Message::default().bytes(11, &labels)).bytes(2, &pod);
    let selector = Message::default().bytes(1, &labels);
    let spec =
        Message::default().number(1, 0).bytes(2, &selector).bytes(3, &template).bytes(4, "").number(5, 0);
    let deployment = Message::default().bytes(1, &meta).bytes(2, &spec).bytes(3, "");
    assert_eq!(
        read(&body("apps/v1", "Deployment", &deployment)).unwrap(),
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "nn", "labels": {"app": "nn"}},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "nn"}}, "strategy": {},
                "template": {"metadata": {"labels": {"app": "nn"}}, "spec": {"containers": [{"name": "nginx", "image": "nginx", "resources": {}}]}}},
            "status": {}})
    );
}

#[test]
fn inlined_messages_quantities_ports_and_times_take_their_json_form() {
    let config_map = Message::default().bytes(1, Message::default().bytes(1, "cm"));
    let volume = Message::default().bytes(1, "v").bytes(2, Message::default().bytes(19, &config_map));
    let get = Message::default().bytes(2, Message::default().number(1, 1).number(2, 0).bytes(3, "http"));
    let probe = Message::default().bytes(1, Message::default().bytes(2, &get)).number(2, 0);
    let limit = Message::default().bytes(1, "cpu").bytes(2, Message::default().bytes(1, "500m"));
    let resources = Message::default().bytes(1, &limit);
    let container = Message::default().bytes(1, "c").bytes(8, &resources).bytes(10, &probe);
    let meta = Message::default().bytes(1, "p").bytes(8, Message::default().number(1, 1_000_000_000));
    let pod = Message::default()
        .bytes(1, &meta)
        .bytes(2, Message::default().bytes(1, &volume).bytes(2, &container));
    let pod = read(&body("v1", "Pod", &pod)).unwrap();
    assert_eq!(pod["metadata"]["creationTimestamp"], "2001-09-09T01:46:40Z");
    assert_eq!(pod["spec"]["volumes"], json!([{"name": "v", "configMap": {"name": "cm"}}]));
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["livenessProbe"], json!({"httpGet": {"port": "http"}}));
    assert_eq!(container["resources"], json!({"limits": {"cpu": "500m"}}));
}

#[test]
fn secrets_and_leases_keep_their_bytes_and_microseconds() {
    let entry = Message::default().bytes(1, "k").bytes(2, [0xff, 0x00]);
    let secret = read(&body("v1", "Secret", &Message::default().bytes(2, &entry))).unwrap();
    assert_eq!(secret["data"], json!({"k": "/wA="}));
    let renewed = Message::default().number(1, 1_000_000_000).number(2, 5000);
    let lease =
        Message::default().bytes(2, Message::default().bytes(1, "me").number(2, 40).bytes(4, &renewed));
    let lease = read(&body("coordination.k8s.io/v1", "Lease", &lease)).unwrap();
    assert_eq!(lease["spec"]["renewTime"], "2001-09-09T01:46:40.000005Z");
    let options = Message::default().number(1, 0).bytes(4, "Background");
    let options = read(&body("v1", "DeleteOptions", &options)).unwrap();
    assert_eq!(
        (&options["gracePeriodSeconds"], &options["propagationPolicy"]),
        (&json!(0), &json!("Background"))
    );
}

#[test]
fn what_is_not_a_known_message_is_refused() {
    assert!(matches!(read(b"{}"), Err(ProtobufError::NoPrefix)));
    assert!(matches!(read(b"k8s\0\xff"), Err(ProtobufError::Malformed(_))));
    let unknown = body("devices.kubeedge.io/v1beta1", "Device", &Message::default());
    assert!(matches!(read(&unknown), Err(ProtobufError::UnknownKind { .. })));
}

#[test]
fn every_served_struct_has_its_numbers_and_every_number_a_field() {
    let registry = Registry::new();
    let pods = registry.resolve("", "v1", "pods").unwrap();
    let (types, _) = pods.built_in_type().unwrap();
    for definition in [
        "core.v1.PodSpec",
        "core.v1.Container",
        "apps.v1.DeploymentSpec",
        "core.v1.NodeStatus",
        "rbac.v1.PolicyRule",
    ] {
        let one = types.get(types.find(&format!("io.k8s.api.{definition}")).unwrap()).unwrap();
        let known =
            (1..100).filter_map(|number| numbers::target(definition, number)).filter(|target| match target {
                numbers::Target::Field(name) => {
                    assert!(one.field(name).is_some(), "{definition}.{name}");
                    true
                }
                numbers::Target::Inlined(_) => false,
            });
        assert!(known.count() + 2 >= one.fields.len(), "{definition}");
    }
}

thread_local! {
    static PODS: std::sync::Arc<crate::registry::Resource> = Registry::new().resolve("", "v1", "pods").unwrap();
}

proptest! {
    #[test]
    fn no_bytes_make_the_server_panic(raw in prop::collection::vec(any::<u8>(), 0..200), kind in "(Pod|Secret|Node|Event|Service)") {
        PODS.with(|pods| {
            let _ = pods.decode_protobuf(&raw);
            let _ = pods.decode_protobuf(&body("v1", &kind, &Message(raw.clone())));
        });
    }
}
