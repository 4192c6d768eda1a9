//! KubeEdge's topics, split by position: which request a message is, and where an answer goes.

use bytes::Bytes;

use crate::devicetwin::engine::{Channel, DeviceId, Request, Verb};

const DEVICE: &str = "$hw/events/device/";
const NODE: &str = "$hw/events/node/";

/// What an external broker is asked for. The embedded one sees everything anyway.
pub(super) const SUBSCRIPTIONS: &[&str] = &[
    "$hw/events/device/+/+/twin/get",
    "$hw/events/device/+/+/twin/update",
    "$hw/events/device/+/+/twin/cloud_updated",
    "$hw/events/device/+/+/state/update",
    "$hw/events/node/+/membership/get",
];

/// The request that a message on `topic` is; `None` for topics that are not ours to serve.
#[must_use]
pub fn request(topic: &str, payload: Bytes) -> Option<Request> {
    if let Some(rest) = topic.strip_prefix(DEVICE) {
        let (namespace, rest) = rest.split_once('/')?;
        let (name, verb) = rest.split_once('/')?;
        let verb = match verb {
            "twin/get" => Verb::TwinGet,
            "twin/update" => Verb::TwinUpdate,
            "twin/cloud_updated" => Verb::CloudUpdated,
            "state/update" => Verb::StateUpdate,
            _ => return None,
        };
        return Some(Request::Device { device: DeviceId::new(namespace, name).ok()?, verb, payload });
    }
    // KubeEdge does not look at the node's name either: the answer carries the right one.
    let (node, verb) = topic.strip_prefix(NODE)?.split_once('/')?;
    (verb == "membership/get" && !node.is_empty()).then_some(Request::Membership { payload })
}

/// Whether the topic is one where only devices, this node and its applications speak, in KubeEdge's words.
pub(super) fn is_ours(topic: &str) -> bool {
    topic.starts_with(DEVICE) || topic.starts_with(NODE)
}

/// Where a notice of the node `node` is published.
#[must_use]
pub fn of(channel: &Channel, node: &str) -> String {
    let device = |id: &DeviceId, verb: &str| format!("{DEVICE}{id}/{verb}");
    match channel {
        Channel::GetResult(id) => device(id, "twin/get/result"),
        Channel::UpdateResult(id) => device(id, "twin/update/result"),
        Channel::Document(id) => device(id, "twin/update/document"),
        Channel::Delta(id) => device(id, "twin/update/delta"),
        Channel::StateResult(id) => device(id, "state/update/result"),
        Channel::MembershipResult => format!("{NODE}{node}/membership/get/result"),
        Channel::MembershipUpdated => format!("{NODE}{node}/membership/updated"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::eventbus::broker::Filter;

    #[test]
    fn names_that_occur_in_the_prefix_are_names_like_any_other() {
        for namespace in ["dev", "device", "events", "e", "hw", "twin"] {
            for name in ["update", "s1", "get"] {
                let topic = format!("$hw/events/device/{namespace}/{name}/twin/update");
                let Some(Request::Device { device, verb, .. }) = request(&topic, Bytes::new()) else {
                    panic!("{topic}")
                };
                assert_eq!((device.namespace(), device.name(), verb), (namespace, name, Verb::TwinUpdate));
            }
        }
        assert!(matches!(
            request("$hw/events/node/n/membership/get", Bytes::new()),
            Some(Request::Membership { .. })
        ));
    }

    #[test]
    fn our_own_answers_and_strange_topics_are_no_requests() {
        for topic in [
            "",
            "$hw/events/device/",
            "$hw/events/device/default/s1/twin/update/result",
            "$hw/events/device/default/s1/twin/edge_updated",
            "$hw/events/device/s1/twin/update",
            "$hw/events/device//s1/twin/update",
            "$hw/events/device/default/é/twin/update",
            "$hw/events/node//membership/get",
            "$hw/events/node/n/membership/get/result",
            "hw/events/device/default/s1/twin/update",
            "$ke/events/device/default/s1/data/update",
        ] {
            assert_eq!(request(topic, Bytes::new()), None, "{topic}");
        }
    }

    proptest! {
        #[test]
        fn no_topic_makes_the_parser_panic(topic in "\\PC{0,80}", tail in "[$a-z/+#é]{0,60}") {
            let _ = request(&topic, Bytes::new());
            let _ = request(&format!("$hw/events/device/{tail}"), Bytes::new());
            let _ = request(&format!("$hw/events/node/{tail}"), Bytes::new());
        }

        #[test]
        fn every_request_matches_what_an_external_broker_is_asked_for(
            namespace in "[a-z0-9-]{1,10}", name in "[a-z0-9.-]{1,10}",
            verb in "(twin/get|twin/update|twin/cloud_updated|state/update|twin/get/result|x)",
        ) {
            let topic = format!("$hw/events/device/{namespace}/{name}/{verb}");
            let asked = SUBSCRIPTIONS.iter().any(|filter| Filter::new(filter).unwrap().matches(&topic));
            prop_assert_eq!(request(&topic, Bytes::new()).is_some(), asked);
        }
    }
}
