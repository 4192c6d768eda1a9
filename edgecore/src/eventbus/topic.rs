//! The topics of devices (KubeEdge v1.23 `edge/pkg/eventbus`): text on the outside, types inside.

use bytes::Bytes;

use crate::devicetwin::engine::{Channel, DeviceId, Request, Verb};

const DEVICES: &str = "$hw/events/device/";
const NODES: &str = "$hw/events/node/";

/// What an external broker is asked for.
pub(super) const SUBSCRIPTIONS: [&str; 3] = [
    "$hw/events/device/+/+/twin/+",
    "$hw/events/device/+/+/state/update",
    "$hw/events/node/+/membership/get",
];

/// The request that a message on `topic` is, or `None` when the topic is nobody's here.
pub(super) fn request(topic: &str, payload: &Bytes) -> Option<Request> {
    if let Some(rest) = topic.strip_prefix(DEVICES) {
        let (namespace, rest) = rest.split_once('/')?;
        let (name, verb) = rest.split_once('/')?;
        let verb = match verb {
            "twin/get" => Verb::TwinGet,
            "twin/update" => Verb::TwinUpdate,
            "twin/cloud_updated" => Verb::CloudUpdated,
            "state/update" => Verb::StateUpdate,
            _ => return None,
        };
        let device = DeviceId::new(namespace, name).ok()?;
        return Some(Request::Device { device, verb, payload: payload.clone() });
    }
    // KubeEdge does not look at the node's name either, and answers with its own.
    let (_, verb) = topic.strip_prefix(NODES)?.split_once('/')?;
    (verb == "membership/get").then(|| Request::Membership { payload: payload.clone() })
}

/// Where `node` publishes what belongs on `channel`.
pub(super) fn of(channel: &Channel, node: &str) -> String {
    match channel {
        Channel::GetResult(id) => format!("{DEVICES}{id}/twin/get/result"),
        Channel::UpdateResult(id) => format!("{DEVICES}{id}/twin/update/result"),
        Channel::Document(id) => format!("{DEVICES}{id}/twin/update/document"),
        Channel::Delta(id) => format!("{DEVICES}{id}/twin/update/delta"),
        Channel::StateResult(id) => format!("{DEVICES}{id}/state/update/result"),
        Channel::MembershipResult => format!("{NODES}{node}/membership/get/result"),
        Channel::MembershipUpdated => format!("{NODES}{node}/membership/updated"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_topics_of_a_device_are_recognised_by_position() {
        let verb = |topic: &str| match request(topic, &Bytes::new()) {
            Some(Request::Device { device, verb, .. }) => Some((device.to_string(), verb)),
            _ => None,
        };
        assert_eq!(
            verb("$hw/events/device/default/a/twin/update"),
            Some(("default/a".to_owned(), Verb::TwinUpdate))
        );
        // Namespaces and names that are words of the topic itself.
        assert_eq!(
            verb("$hw/events/device/device/twin/twin/get"),
            Some(("device/twin".to_owned(), Verb::TwinGet))
        );
        assert_eq!(verb("$hw/events/device/default/a/twin/update/result"), None);
        assert_eq!(verb("$hw/events/device/default/twin/update"), None);
        assert_eq!(verb("hw/events/device/default/a/twin/update"), None);
    }

    #[test]
    fn membership_is_answered_under_the_nodes_own_name() {
        let asked = request("$hw/events/node/whoever/membership/get", &Bytes::new());
        assert!(matches!(asked, Some(Request::Membership { .. })));
        assert_eq!(of(&Channel::MembershipResult, "edge1"), "$hw/events/node/edge1/membership/get/result");
    }

    proptest! {
        #[test]
        fn no_topic_makes_the_parser_panic(topic in ".*") {
            request(&topic, &Bytes::new());
        }

        #[test]
        fn an_answers_topic_is_never_a_request(namespace in "[a-z0-9-]{1,10}", name in "[a-z0-9.-]{1,10}") {
            let id = DeviceId::new(&namespace, &name).unwrap();
            for channel in [
                Channel::GetResult(id.clone()), Channel::UpdateResult(id.clone()), Channel::Document(id.clone()),
                Channel::Delta(id.clone()), Channel::StateResult(id), Channel::MembershipResult,
                Channel::MembershipUpdated,
            ] {
                prop_assert_eq!(request(&of(&channel, "edge1"), &Bytes::new()), None);
            }
        }
    }
}
