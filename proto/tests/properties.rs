//! What goes over a border comes back as it went, in both dialects, and no bytes make a reader panic.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proto::config::{CloudCore, ConfigFile, EdgeCore, HostPort, Span};
use proto::message::{Content, Group, Header, Message, MessageId, Operation, Route, Source};
use proto::pki::{EcKey, JoinToken, NodeName, peer_node};
use proto::resource::{ObjectKey, Resource, ResourceKind};
use proto::session::{Ack, Codec, Dialect, Held, Inventory, Item, Limits, Outcome};
use tokio_tungstenite::tungstenite::Message as Frame;

const BOTH: [Dialect; 2] = [Dialect::KubeEdge, Dialect::SkerryV1];

fn codec(dialect: Dialect) -> Codec {
    Codec::new(dialect, Limits::default())
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?"
}

fn kind() -> impl Strategy<Value = ResourceKind> {
    let known: Vec<ResourceKind> = ResourceKind::all_known().collect();
    prop_oneof![
        proptest::sample::select(known),
        "x[a-z0-9]{1,20}".prop_map(|w| ResourceKind::Other(w.into()))
    ]
}

fn key() -> impl Strategy<Value = ObjectKey> {
    let namespace = option::of("[a-z0-9]{1,10}".prop_filter("the word for none", |n| n != "null"));
    (namespace, kind(), name()).prop_map(|(namespace, kind, name)| ObjectKey { namespace, kind, name })
}

fn resource() -> impl Strategy<Value = Resource> {
    let device = || ("[a-z0-9]{1,10}", name());
    prop_oneof![
        key().prop_map(Resource::Object),
        Just(Resource::Node),
        Just(Resource::Membership),
        Just(Resource::MembershipDetail),
        Just(Resource::Twin),
        Just(Resource::KubeCa),
        Just(Resource::Mappers),
        Just(Resource::Seen),
        Just(Resource::None),
        device().prop_map(|(namespace, name)| Resource::DeviceTwinUpdated { namespace, name }),
        device().prop_map(|(namespace, name)| Resource::DeviceTwinCloudUpdated { namespace, name }),
        device().prop_map(|(namespace, name)| Resource::DeviceStateUpdate { namespace, name }),
        (name(), name(), name()).prop_map(|(job_type, job, node)| Resource::Task { job_type, job, node }),
        // Anything at all, parsed: topics, URLs, garbage.
        any::<String>().prop_map(|text| Resource::from(text.as_str())),
    ]
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Into::into),
            proptest::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

fn id() -> impl Strategy<Value = MessageId> {
    "\\PC{1,40}".prop_map(|text| text.parse().unwrap())
}

prop_compose! {
    fn message()(
        id in id(), parent in option::of(id()), timestamp in any::<i64>(),
        version in option::of("[0-9]{1,12}"), source in any::<String>(), group in "\\PC{0,12}",
        operation in "\\PC{0,12}", resource in resource(), content in json(),
    ) -> Message {
        Message {
            header: Header { id, parent, timestamp, resource_version: version },
            route: Route::new(
                Source::from(source.as_str()), Group::from(group.as_str()), Operation::from(operation.as_str()), resource,
            ),
            content: Content::json(&content).unwrap(),
        }
    }
}

fn ack() -> impl Strategy<Value = Ack> {
    let outcome = prop_oneof![
        Just(Outcome::Done),
        any::<String>().prop_map(Outcome::Retry),
        any::<String>().prop_map(Outcome::Rejected)
    ];
    // The route of an acknowledgement is not sent in skerry.v1.
    let route = Route::new(Source::None, Group::None, Operation::Response, Resource::None);
    (id(), outcome).prop_map(move |(of, outcome)| Ack { of, outcome, route: route.clone() })
}

fn item() -> impl Strategy<Value = Item> {
    let held = (key(), "[-0-9a-f]{0,36}", "[0-9]{0,9}").prop_map(|(key, uid, resource_version)| Held {
        key,
        uid,
        resource_version,
    });
    let inventory = (vec(held, 0..20), any::<bool>()).prop_map(|(held, last)| Inventory { held, last });
    prop_oneof![
        message().prop_map(Item::Message),
        ack().prop_map(Item::Ack),
        inventory.prop_map(Item::Inventory)
    ]
}

proptest! {
    #[test]
    fn resources_come_back_as_they_went(resource in resource()) {
        prop_assert_eq!(Resource::from(resource.to_string().as_str()), resource);
    }

    #[test]
    fn any_text_is_a_resource_that_prints_as_that_text(text in any::<String>()) {
        prop_assert_eq!(Resource::from(text.as_str()).to_string(), text);
    }

    #[test]
    fn messages_come_back_as_they_went_in_both_dialects(messages in vec(message(), 1..5)) {
        let items: Vec<Item> = messages.into_iter().map(Item::Message).collect();
        for dialect in BOTH {
            let frames = codec(dialect).encode(&items).unwrap();
            let back: Vec<Item> = frames.into_iter().flat_map(|f| codec(dialect).decode(f).unwrap()).collect();
            prop_assert_eq!(&back, &items);
        }
    }

    #[test]
    fn mixed_frames_come_back_as_they_went(items in vec(item(), 0..8), frame_bytes in 1_usize..4096) {
        let codec = Codec::new(Dialect::SkerryV1, Limits { frame_bytes, ..Limits::default() });
        let frames = codec.encode(&items).unwrap();
        let back: Vec<Item> = frames.into_iter().flat_map(|f| codec.decode(f).unwrap()).collect();
        prop_assert_eq!(back, items);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..2048)) {
        for dialect in BOTH {
            let _ = codec(dialect).decode(Frame::binary(bytes.clone()));
        }
        let _ = EcKey::read(&bytes, "key");
        let _ = peer_node(&bytes);
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in any::<String>()) {
        let _ = codec(Dialect::KubeEdge).decode(Frame::text(text.as_str()));
        let _ = text.parse::<JoinToken>();
        let _ = text.parse::<NodeName>();
        let _ = text.parse::<HostPort>();
        let _ = text.parse::<Span>();
        let _ = CloudCore::parse(&text, "f".as_ref());
        let _ = EdgeCore::parse(&text, "f".as_ref());
    }

    #[test]
    fn damaged_frames_are_errors_or_messages_and_never_a_panic(
        items in vec(item(), 1..4), at in any::<proptest::sample::Index>(), bit in 0_u8..8,
    ) {
        for dialect in BOTH {
            for frame in codec(dialect).encode(&items).unwrap() {
                let mut bytes = frame.into_data().to_vec();
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
                let _ = codec(dialect).decode(Frame::binary(bytes.clone()));
                bytes.truncate(at);
                let _ = codec(dialect).decode(Frame::binary(bytes));
            }
        }
    }
}
