//! MQTT 3.1.1 as MQTT 5, and back.

use mqtt_proto::v3;
use mqtt_proto::v5::{
    self, ConnectReasonCode, Packet, Puback, Pubcomp, Pubrec, Pubrel, RetainHandling, SubscribeReasonCode,
    SubscriptionOptions,
};

/// A session that never ends by itself (MQTT 5 §3.1.2.11.2).
pub(super) const FOREVER: u32 = u32::MAX;

/// The packet of 5 that means the same.
pub(super) fn from_v3(packet: v3::Packet) -> Packet {
    match packet {
        v3::Packet::Connect(connect) => from_connect(connect).into(),
        v3::Packet::Connack(_) | v3::Packet::Suback(_) | v3::Packet::Unsuback(_) | v3::Packet::Pingresp => {
            // The frames let no packet of a server through; as a ping it does no harm.
            Packet::Pingreq
        }
        v3::Packet::Publish(publish) => v5::Publish {
            dup: publish.dup,
            retain: publish.retain,
            ..v5::Publish::new(publish.qos_pid, publish.topic_name, publish.payload)
        }
        .into(),
        v3::Packet::Puback(pid) => Puback::new_success(pid).into(),
        v3::Packet::Pubrec(pid) => Pubrec::new_success(pid).into(),
        v3::Packet::Pubrel(pid) => Pubrel::new_success(pid).into(),
        v3::Packet::Pubcomp(pid) => Pubcomp::new_success(pid).into(),
        v3::Packet::Subscribe(subscribe) => {
            let options = |max_qos| SubscriptionOptions {
                max_qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::SendAtSubscribe,
            };
            let topics = subscribe.topics.into_iter().map(|(filter, qos)| (filter, options(qos)));
            v5::Subscribe::new(subscribe.pid, topics.collect()).into()
        }
        v3::Packet::Unsubscribe(unsubscribe) => {
            v5::Unsubscribe::new(unsubscribe.pid, unsubscribe.topics).into()
        }
        v3::Packet::Pingreq => Packet::Pingreq,
        v3::Packet::Disconnect => v5::Disconnect::new_normal().into(),
    }
}

fn from_connect(connect: v3::Connect) -> v5::Connect {
    let will = connect.last_will.map(|will| v5::LastWill {
        retain: will.retain,
        ..v5::LastWill::new(will.qos, will.topic_name, will.message)
    });
    // A session that is not clean lasts.
    let expiry = if connect.clean_session { 0 } else { FOREVER };
    v5::Connect {
        protocol: connect.protocol,
        clean_start: connect.clean_session,
        properties: v5::ConnectProperties { session_expiry_interval: Some(expiry), ..Default::default() },
        last_will: will,
        username: connect.username,
        password: connect.password,
        ..v5::Connect::new(connect.client_id, connect.keep_alive)
    }
}

/// What 3.1.1 has for a packet of the broker; `None`: nothing, it only closes the connection.
pub(super) fn to_v3(packet: Packet) -> Option<v3::Packet> {
    Some(match packet {
        Packet::Connack(connack) => {
            v3::Connack::new(connack.session_present, return_code(connack.reason_code)?).into()
        }
        Packet::Publish(publish) => v3::Packet::Publish(v3::Publish {
            dup: publish.dup,
            retain: publish.retain,
            ..v3::Publish::new(publish.qos_pid, publish.topic_name, publish.payload)
        }),
        Packet::Puback(ack) => v3::Packet::Puback(ack.pid),
        Packet::Pubrec(ack) => v3::Packet::Pubrec(ack.pid),
        Packet::Pubrel(ack) => v3::Packet::Pubrel(ack.pid),
        Packet::Pubcomp(ack) => v3::Packet::Pubcomp(ack.pid),
        Packet::Suback(ack) => {
            let codes = ack.topics.into_iter().map(|code| match code {
                SubscribeReasonCode::GrantedQoS0 => v3::SubscribeReturnCode::MaxLevel0,
                SubscribeReasonCode::GrantedQoS1 => v3::SubscribeReturnCode::MaxLevel1,
                SubscribeReasonCode::GrantedQoS2 => v3::SubscribeReturnCode::MaxLevel2,
                _ => v3::SubscribeReturnCode::Failure,
            });
            v3::Packet::Suback(v3::Suback::new(ack.pid, codes.collect()))
        }
        Packet::Unsuback(ack) => v3::Packet::Unsuback(ack.pid),
        Packet::Pingresp => v3::Packet::Pingresp,
        _ => return None,
    })
}

fn return_code(reason: ConnectReasonCode) -> Option<v3::ConnectReturnCode> {
    Some(match reason {
        ConnectReasonCode::Success => v3::ConnectReturnCode::Accepted,
        ConnectReasonCode::UnsupportedProtocolVersion => v3::ConnectReturnCode::UnacceptableProtocolVersion,
        ConnectReasonCode::ClientIdentifierNotValid => v3::ConnectReturnCode::IdentifierRejected,
        ConnectReasonCode::ServerUnavailable
        | ConnectReasonCode::ServerBusy
        | ConnectReasonCode::QuotaExceeded => v3::ConnectReturnCode::ServerUnavailable,
        ConnectReasonCode::BadUserNameOrPassword => v3::ConnectReturnCode::BadUserNameOrPassword,
        ConnectReasonCode::NotAuthorized | ConnectReasonCode::Banned => v3::ConnectReturnCode::NotAuthorized,
        _ => return None,
    })
}
