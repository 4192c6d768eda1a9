//! The texts of a packet that the codec takes with any letter in them: none of them may hold a NUL (MQTT-1.5.3-2,
//! MQTT5-1.5.4-2). Topics and filters are checked by the codec.

use mqtt_proto::v5::{Packet, UserProperty};

/// Whether one of the packet's texts holds a NUL.
pub(super) fn hold_nul(packet: &Packet) -> bool {
    let nul = |text: &str| text.contains('\0');
    let any = |texts: &[Option<&str>], users: &[UserProperty]| {
        texts.iter().flatten().any(|text| nul(text))
            || users.iter().any(|user| nul(&user.name) || nul(&user.value))
    };
    match packet {
        Packet::Connect(connect) => {
            let properties = &connect.properties;
            let texts =
                [Some(&*connect.client_id), connect.username.as_deref(), properties.auth_method.as_deref()];
            let will = connect.last_will.as_ref().map(|will| &will.properties);
            any(&texts, &properties.user_properties)
                || will.is_some_and(|will| any(&[will.content_type.as_deref()], &will.user_properties))
        }
        Packet::Publish(publish) => {
            let properties = &publish.properties;
            any(&[properties.content_type.as_deref()], &properties.user_properties)
        }
        Packet::Puback(ack) => {
            any(&[ack.properties.reason_string.as_deref()], &ack.properties.user_properties)
        }
        Packet::Pubrec(ack) => {
            any(&[ack.properties.reason_string.as_deref()], &ack.properties.user_properties)
        }
        Packet::Pubrel(ack) => {
            any(&[ack.properties.reason_string.as_deref()], &ack.properties.user_properties)
        }
        Packet::Pubcomp(ack) => {
            any(&[ack.properties.reason_string.as_deref()], &ack.properties.user_properties)
        }
        Packet::Subscribe(subscribe) => any(&[], &subscribe.properties.user_properties),
        Packet::Unsubscribe(unsubscribe) => any(&[], &unsubscribe.properties.user_properties),
        Packet::Disconnect(disconnect) => {
            let properties = &disconnect.properties;
            let texts = [properties.reason_string.as_deref(), properties.server_reference.as_deref()];
            any(&texts, &properties.user_properties)
        }
        // Of the others, clients send none that is taken.
        _ => false,
    }
}
