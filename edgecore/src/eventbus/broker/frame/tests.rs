use mqtt_proto::v5::{DisconnectReasonCode, Publish};
use mqtt_proto::{Pid, QosPid, TopicName};
use proptest::prelude::*;

use super::*;

fn frames(version: Option<Version>) -> Frames {
    Frames { version, ..Frames::new(1024) }
}

fn read(version: Option<Version>, bytes: &[u8]) -> Result<Option<Packet>, FrameError> {
    frames(version).next(&mut BytesMut::from(bytes))
}

#[test]
fn what_the_standard_forbids_is_refused_in_version_3() {
    let connect = |flags: u8| vec![0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 10, 0, 1, b'a'];
    assert!(matches!(read(None, &connect(2)), Ok(Some(Packet::Connect(_)))));
    for (what, bytes) in [
        ("reserved connect bit", connect(3)),
        ("password without user", connect(0x42)),
        ("retained without a will", connect(0x22)),
        ("wrong name", vec![0x10, 8, 0, 4, b'M', b'Q', b'T', b'X', 4, 2]),
        ("no level", vec![0x10, 6, 0, 4, b'M', b'Q', b'T', b'T']),
        ("longer than it says", vec![0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 10, 0, 1, b'a', 7]),
    ] {
        assert!(read(None, &bytes).is_err(), "{what}");
    }
    for (what, bytes) in [
        ("dup at qos 0", vec![0x38, 3, 0, 1, b'a']),
        ("qos 3", vec![0x36, 5, 0, 1, b'a', 0, 1]),
        ("empty topic", vec![0x30, 2, 0, 0]),
        ("wildcard topic", vec![0x30, 3, 0, 1, b'#']),
        ("topic not utf-8", vec![0x30, 3, 0, 1, 0xff]),
        ("nul in topic", vec![0x30, 3, 0, 1, 0]),
        ("pkid 0", vec![0x32, 5, 0, 1, b'a', 0, 0]),
        ("subscribe flags", vec![0x80, 6, 0, 1, 0, 1, b'a', 0]),
        ("subscribe qos", vec![0x82, 6, 0, 1, 0, 1, b'a', 4]),
        ("subscribe to nothing", vec![0x82, 2, 0, 1]),
        ("subscribe pkid 0", vec![0x82, 6, 0, 0, 0, 1, b'a', 0]),
        ("unsubscribe from nothing", vec![0xa2, 2, 0, 1]),
        ("unsubscribe cut short", vec![0xa2, 1, 0]),
        ("pubrel flags", vec![0x60, 2, 0, 1]),
        ("puback with a reason", vec![0x40, 3, 0, 1, 0]),
        ("ping with a body", vec![0xc0, 1, 0]),
        ("disconnect with a body", vec![0xe0, 1, 0]),
        ("a server's packet", vec![0x20, 2, 0, 0]),
        ("packet type 0", vec![0x00, 0]),
        ("packet type 15", vec![0xf0, 0]),
        ("endless length", vec![0x30, 0xff, 0xff, 0xff, 0xff]),
    ] {
        assert!(read(Some(Version::V3), &bytes).is_err(), "{what}");
    }
    assert!(matches!(read(Some(Version::V3), &[0x30, 0xff, 0x7f]), Err(FrameError::TooLong(16_386))));
    let v6 = [0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 6, 2, 0, 10, 0, 0, 1, b'a'];
    assert!(matches!(read(None, &v6), Err(FrameError::Level(6))));
    let v3 = [0x10, 15, 0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3, 2, 0, 10, 0, 1, b'a'];
    assert!(matches!(read(None, &v3), Err(FrameError::Level(3))));
}

#[test]
fn what_the_standard_forbids_is_refused_in_version_5_with_its_reason() {
    use DisconnectReasonCode as Reason;
    for (what, bytes, reason) in [
        ("empty topic, no alias", vec![0x30, 3, 0, 0, 0], Reason::ProtocolError),
        ("wildcard topic", vec![0x30, 4, 0, 1, b'+', 0], Reason::TopicNameInvalid),
        ("subscription identifier", vec![0x30, 6, 0, 1, b'a', 2, 0x0b, 1], Reason::ProtocolError),
        (
            "two content types",
            vec![0x30, 12, 0, 1, b'a', 8, 3, 0, 1, b'a', 3, 0, 1, b'a'],
            Reason::ProtocolError,
        ),
        ("a property of others", vec![0x30, 7, 0, 1, b'a', 3, 0x21, 0, 1], Reason::MalformedPacket),
        ("nul in a content type", vec![0x30, 8, 0, 1, b'a', 4, 3, 0, 1, 0], Reason::MalformedPacket),
        ("not the text it says", vec![0x30, 7, 0, 1, b'a', 2, 1, 1, 0xff], Reason::PayloadFormatInvalid),
        ("reserved options", vec![0x82, 7, 0, 1, 0, 0, 1, b'a', 0xc0], Reason::MalformedPacket),
        ("retain handling 3", vec![0x82, 7, 0, 1, 0, 0, 1, b'a', 0x30], Reason::MalformedPacket),
        ("subscribe to nothing", vec![0x82, 3, 0, 1, 0], Reason::ProtocolError),
        ("identifier 0", vec![0x82, 9, 0, 1, 2, 0x0b, 0, 0, 1, b'a', 0], Reason::ProtocolError),
        ("auth out of the blue", vec![0xf0, 0], Reason::ProtocolError),
        ("a long zero", vec![0xc0, 0x80, 0], Reason::ProtocolError),
    ] {
        let error = read(Some(Version::V5), &bytes).unwrap_err();
        assert_eq!(error.reason(), reason, "{what}: {error}");
    }
    let share = v5::Subscribe::new(
        Pid::default(),
        vec![(
            mqtt_proto::TopicFilter::try_from("$share/g/a").unwrap(),
            v5::SubscriptionOptions {
                no_local: true,
                ..v5::SubscriptionOptions::new(mqtt_proto::QoS::Level1)
            },
        )],
    );
    let bytes = Packet::from(share).encode().unwrap();
    assert!(read(Some(Version::V5), bytes.as_ref()).is_err(), "no local on a shared subscription");
}

#[test]
fn a_subscription_that_failed_is_0x80_in_version_3() {
    let codes = vec![v5::SubscribeReasonCode::GrantedQoS1, v5::SubscribeReasonCode::QuotaExceeded];
    let mut bytes = BytesMut::new();
    let suback = v5::Suback::new(Pid::try_from(0x303).unwrap(), codes);
    assert!(frames(Some(Version::V3)).put(suback.into(), &mut bytes).unwrap());
    assert_eq!(&bytes[..], &[0x90, 4, 3, 3, 1, 0x80]);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_or_grow(
        bytes in proptest::collection::vec(any::<u8>(), 0..64), version in 0u8..3,
    ) {
        let version = [None, Some(Version::V3), Some(Version::V5)][usize::from(version)];
        let mut input = BytesMut::from(&bytes[..]);
        let mut frames = frames(version);
        while let Ok(Some(_)) = frames.next(&mut input) {}
        prop_assert!(input.capacity() <= 4096);
    }

    #[test]
    fn no_body_of_any_type_makes_the_reader_panic(
        first in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..120), five in any::<bool>(),
    ) {
        let mut bytes = vec![first, u8::try_from(body.len()).unwrap()];
        bytes.extend(body);
        let _ = read(Some(if five { Version::V5 } else { Version::V3 }), &bytes);
    }

    #[test]
    fn a_packet_in_pieces_is_read_as_the_packet(
        topic in "[a-z$/]{1,20}", payload in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..400,
        five in any::<bool>(),
    ) {
        let version = if five { Version::V5 } else { Version::V3 };
        let topic = TopicName::try_from(topic.as_str()).unwrap();
        let publish = Publish::new(QosPid::Level1(Pid::try_from(7).unwrap()), topic, payload.into());
        let mut bytes = BytesMut::new();
        let mut frames = frames(Some(version));
        prop_assert!(frames.put(publish.clone().into(), &mut bytes).unwrap());
        let cut = cut.min(bytes.len() - 1);
        let mut input = BytesMut::from(&bytes[..cut]);
        prop_assert!(frames.next(&mut input).unwrap().is_none());
        input.extend_from_slice(&bytes[cut..]);
        prop_assert_eq!(frames.next(&mut input).unwrap(), Some(Packet::Publish(publish)));
    }
}
