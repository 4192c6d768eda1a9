//! What mqtt-proto's codec lets pass and the standards do not.

use mqtt_proto::Protocol;
use mqtt_proto::v5::{Packet, Publish, Subscribe};

use super::{FrameError, Version, texts};

/// The flags of a CONNECT, as far as the codec does not look at them.
pub(super) fn check_flags(connect: &[u8]) -> Result<(), FrameError> {
    let (will, retain) = (0b100, 0b10_0000);
    match connect.get(7) {
        Some(flags) if flags & (will | retain) == retain => Err(FrameError::Unfit(
            "MQTT-3.1.2-15, MQTT5-3.1.2-13: a will that is not there cannot be retained",
        )),
        _ => Ok(()),
    }
}

/// A packet that the codec has read.
pub(super) fn check(packet: &Packet, version: Version) -> Result<(), FrameError> {
    let demand = |holds: bool, rule| if holds { Ok(()) } else { Err(FrameError::Violation(rule)) };
    if texts::hold_nul(packet) {
        return Err(FrameError::Unfit("MQTT-1.5.3-2, MQTT5-1.5.4-2: text has no NUL"));
    }
    match packet {
        Packet::Connect(connect) => {
            let nameless = connect.password.is_some() && connect.username.is_none();
            demand(version == Version::V5 || !nameless, "MQTT-3.1.2-22: a password without a user name")?;
            demand(
                connect.last_will.as_ref().is_none_or(|will| !will.topic_name.is_empty()),
                "MQTT-4.7.3-1: a will's topic is not empty",
            )?;
            let offers = &connect.properties;
            demand(offers.receive_max != Some(0), "MQTT5-3.1.2.11.3: a receive maximum of 0")?;
            demand(offers.max_packet_size != Some(0), "MQTT5-3.1.2.11.4: a maximum packet size of 0")?;
            demand(
                offers.auth_data.is_none() || offers.auth_method.is_some(),
                "MQTT5-3.1.2.11.10: authentication data without a method",
            )?;
            demand(connect.protocol != Protocol::V310, "MQTT 3.1 is not spoken")
        }
        Packet::Publish(publish) => check_publish(publish, version),
        Packet::Subscribe(subscribe) => check_subscribe(subscribe),
        Packet::Unsubscribe(unsubscribe) => {
            demand(!unsubscribe.topics.is_empty(), "MQTT-3.10.3-2: an UNSUBSCRIBE names at least one filter")
        }
        Packet::Auth(_) => Err(FrameError::Violation("MQTT5-4.12.0-6: no authentication was begun")),
        _ => Ok(()),
    }
}

fn check_publish(publish: &Publish, version: Version) -> Result<(), FrameError> {
    if publish.properties.subscription_id.is_some() {
        return Err(FrameError::Violation("MQTT5-3.3.4-6: a client sends no subscription identifier"));
    }
    let nameless = publish.topic_name.is_empty();
    if nameless && (version == Version::V3 || publish.properties.topic_alias.is_none()) {
        return Err(FrameError::Violation("MQTT-4.7.3-1: a topic is not empty"));
    }
    Ok(())
}

fn check_subscribe(subscribe: &Subscribe) -> Result<(), FrameError> {
    if subscribe.topics.is_empty() {
        return Err(FrameError::Violation("MQTT-3.8.3-3: a SUBSCRIBE names at least one filter"));
    }
    if subscribe.properties.subscription_id.is_some_and(|identifier| identifier.value() == 0) {
        return Err(FrameError::Violation("MQTT5-3.8.2.1.2: a subscription identifier of 0"));
    }
    if subscribe.topics.iter().any(|(filter, options)| options.no_local && filter.starts_with("$share/")) {
        return Err(FrameError::Violation("MQTT5-3.8.3-4: No Local on a shared subscription"));
    }
    Ok(())
}
