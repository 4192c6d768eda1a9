//! Cutting bytes into MQTT packets, and packets into bytes, for both versions.
//!
//! Inside, the broker speaks MQTT 5 alone: a packet of 3.1.1 is read as the packet of 5 that means the same, and written
//! back as what 3.1.1 has for it. mqtt-proto's codec does the bytes; what it lets pass and the standards do not is
//! checked here.

use bytes::BytesMut;
use mqtt_proto::v5::{DisconnectReasonCode, ErrorV5, Packet, Publish, Subscribe};
use mqtt_proto::{Error as CodecError, PollHeader, Protocol, v3, v5};

use super::{texts, translate};

/// Which MQTT a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 3.1.1.
    V3,
    /// 5.
    V5,
}

/// Why a connection must be closed (MQTT-4.8.0-1, MQTT-4.13.1-1).
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// Longer than allowed.
    #[error("a packet of {0} bytes is longer than the broker takes")]
    TooLong(usize),
    /// A rule of the standards, by its number.
    #[error("broken: {0}")]
    Violation(&'static str),
    /// What cannot stand there, by the number of the standard.
    #[error("malformed: {0}")]
    Unfit(&'static str),
    /// A topic alias that was never set, or beyond what was offered.
    #[error("MQTT5-3.3.2-8, 3.3.2-9: the topic alias is unknown or out of range")]
    TopicAlias,
    /// Another version of MQTT.
    #[error("protocol level {0} is neither MQTT 3.1.1 nor 5")]
    Level(u8),
    /// The codec's words.
    #[error("malformed packet: {0}")]
    Malformed(ErrorV5),
}

/// One connection's packets. The version is fixed by its CONNECT.
#[derive(Debug)]
pub(super) struct Frames {
    version: Option<Version>,
    longest: usize,
    /// Longest packet that the client takes.
    pub(super) client_longest: usize,
}

impl FrameError {
    /// What a client of MQTT 5 is told.
    pub(super) fn reason(&self) -> DisconnectReasonCode {
        match self {
            Self::TooLong(_) => DisconnectReasonCode::PacketTooLarge,
            Self::Violation(_) | Self::Level(_) => DisconnectReasonCode::ProtocolError,
            Self::Unfit(_) => DisconnectReasonCode::MalformedPacket,
            Self::TopicAlias => DisconnectReasonCode::TopicAliasInvalid,
            Self::Malformed(error) => match error {
                ErrorV5::Common(CodecError::InvalidTopicName(_)) => DisconnectReasonCode::TopicNameInvalid,
                ErrorV5::Common(CodecError::InvalidTopicFilter(_)) => {
                    DisconnectReasonCode::TopicFilterInvalid
                }
                ErrorV5::InvalidPayloadFormat => DisconnectReasonCode::PayloadFormatInvalid,
                // MQTT5-2.2.2-2 and the texts of the single properties: twice, or out of range, is an error of protocol.
                ErrorV5::DuplicatedProperty(_)
                | ErrorV5::InvalidByteProperty(..)
                | ErrorV5::Common(CodecError::EmptySubscription | CodecError::ZeroPid) => {
                    DisconnectReasonCode::ProtocolError
                }
                _ => DisconnectReasonCode::MalformedPacket,
            },
        }
    }
}

impl From<CodecError> for FrameError {
    fn from(error: CodecError) -> Self {
        Self::Malformed(error.into())
    }
}

impl From<ErrorV5> for FrameError {
    fn from(error: ErrorV5) -> Self {
        Self::Malformed(error)
    }
}

impl Frames {
    /// Takes packets of up to `longest` bytes.
    pub(super) fn new(longest: usize) -> Self {
        Self { version: None, longest, client_longest: usize::MAX }
    }

    /// What the client speaks, once it has said so.
    pub(super) fn version(&self) -> Option<Version> {
        self.version
    }

    /// Takes the first packet off `input`. `None`: more bytes are needed; the buffer has room for them.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Packet>, FrameError> {
        let Some(first) = input.first().copied() else { return Ok(None) };
        // Before anything is waited for: it may be no MQTT at all.
        self.check_type(first)?;
        let Some((header, body)) = lengths(input)? else { return Ok(None) };
        let length = header + body;
        if length > self.longest {
            return Err(FrameError::TooLong(length));
        }
        if input.len() < length {
            input.reserve(length - input.len());
            return Ok(None);
        }
        let frame = input.split_to(length);
        let body = frame.get(header..).unwrap_or_default();
        let version = match self.version {
            Some(version) => version,
            None => {
                let version = *self.version.insert(introduced(body)?);
                check_flags(body)?;
                version
            }
        };
        let packet = match version {
            Version::V3 => translate::from_v3(read_v3(first, body)?),
            Version::V5 => read_v5(first, body)?,
        };
        check(&packet, version)?;
        Ok(Some(packet))
    }

    /// Appends `packet`. False: the client does not take packets of that length (MQTT5-3.1.2-24), or its version has no
    /// such packet.
    pub(super) fn put(&self, packet: Packet, output: &mut BytesMut) -> Result<bool, FrameError> {
        let (bytes, codes) = match self.version {
            Some(Version::V5) => (packet.encode()?, 0),
            _ => match translate::to_v3(packet) {
                Some(packet) => {
                    let codes = if let v3::Packet::Suback(ack) = &packet { ack.topics.len() } else { 0 };
                    (packet.encode()?, codes)
                }
                None => return Ok(false),
            },
        };
        let bytes = bytes.as_ref();
        let fits = bytes.len() <= self.client_longest;
        if fits {
            output.extend_from_slice(bytes);
            // The codec writes the number of its own name for a failure, 3, where MQTT-3.9.3-2 has 0x80.
            let others = output.len().saturating_sub(codes);
            output.iter_mut().skip(others).filter(|code| **code == 3).for_each(|code| *code = 0x80);
        }
        Ok(fits)
    }

    /// Type and flags of the first byte.
    fn check_type(&self, first: u8) -> Result<(), FrameError> {
        let from_servers = matches!(first >> 4, 2 | 9 | 11 | 13);
        if from_servers {
            return Err(FrameError::Violation("a packet that only a server sends"));
        }
        match self.version {
            Some(Version::V5) => v5::Header::new_with(first, 0, 0).map(drop)?,
            _ => v3::Header::new_with(first, 0, 0).map(drop)?,
        }
        // MQTT-3.3.1-2
        if first & 0xfe == 0x38 {
            return Err(FrameError::Violation("MQTT-3.3.1-2: DUP without a QoS"));
        }
        Ok(())
    }
}

/// Lengths of the fixed header and of what follows it, once known.
fn lengths(input: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
    let mut length = 0usize;
    for (at, byte) in input.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            if at > 0 && *byte == 0 {
                return Err(FrameError::Violation(
                    "MQTT5-1.5.5-1: a length is written in as few bytes as it needs",
                ));
            }
            return Ok(Some((at + 2, length)));
        }
    }
    if input.len() >= 5 {
        Err(FrameError::Violation("MQTT-2.2.3: the length takes at most four bytes"))
    } else {
        Ok(None)
    }
}

/// The version that the body of a CONNECT names.
fn introduced(body: &[u8]) -> Result<Version, FrameError> {
    let current = body.strip_prefix(&[0, 4, b'M', b'Q', b'T', b'T']);
    let old = body.strip_prefix(&[0, 6, b'M', b'Q', b'I', b's', b'd', b'p']);
    match (current, old) {
        (Some([4, ..]), _) => Ok(Version::V3),
        (Some([5, ..]), _) => Ok(Version::V5),
        (Some([level, ..]), _) | (None, Some([level, ..])) => Err(FrameError::Level(*level)),
        (Some([]), _) | (None, Some([])) => {
            Err(FrameError::Violation("MQTT-3.1.2-2: the protocol's level is missing"))
        }
        (None, None) => Err(FrameError::Violation("MQTT-3.1.2-1: the protocol's name")),
    }
}

/// The flags of a CONNECT, as far as the codec does not look at them.
fn check_flags(connect: &[u8]) -> Result<(), FrameError> {
    let (will, retain) = (0b100, 0b10_0000);
    match connect.get(7) {
        Some(flags) if flags & (will | retain) == retain => Err(FrameError::Unfit(
            "MQTT-3.1.2-15, MQTT5-3.1.2-13: a will that is not there cannot be retained",
        )),
        _ => Ok(()),
    }
}

const TRAILING: FrameError = FrameError::Violation("MQTT-2.2.3: the packet is longer than what it holds");

fn read_v3(first: u8, body: &[u8]) -> Result<v3::Packet, FrameError> {
    let header = v3::Header::new_with(first, size(body), size(body))?;
    if let Some(packet) = header.build_empty_packet() {
        return if body.is_empty() { Ok(packet) } else { Err(TRAILING) };
    }
    let mut read = 0;
    let packet = header.decode_buffer(body, &mut read)?;
    if read == body.len() { Ok(packet) } else { Err(TRAILING) }
}

fn read_v5(first: u8, body: &[u8]) -> Result<Packet, FrameError> {
    let header = v5::Header::new_with(first, size(body), size(body))?;
    if let Some(packet) = header.build_empty_packet() {
        return if body.is_empty() { Ok(packet) } else { Err(TRAILING) };
    }
    let mut read = 0;
    let packet = header.decode_buffer(body, &mut read)?;
    if read == body.len() { Ok(packet) } else { Err(TRAILING) }
}

/// A body is never longer than what four bytes of seven bits can say.
fn size(body: &[u8]) -> u32 {
    u32::try_from(body.len()).unwrap_or(u32::MAX)
}

/// What the codec does not look at.
fn check(packet: &Packet, version: Version) -> Result<(), FrameError> {
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

#[cfg(test)]
mod tests {
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
}
