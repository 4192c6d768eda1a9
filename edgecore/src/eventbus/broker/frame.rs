//! Cutting bytes into MQTT 3.1.1 packets. rumqttc's codec reads them; what it lets pass and the standard does not is
//! checked here first.

use bytes::BytesMut;
use rumqttc::Packet;
use rumqttc::mqttbytes::Error as CodecError;

use super::filter::is_topic;

/// Why a connection must be closed. Nobody answers a client that breaks the protocol (MQTT-4.8.0-1).
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// Longer than allowed.
    #[error("a packet of {0} bytes is longer than the broker takes")]
    TooLong(usize),
    /// A rule of the standard, by its number.
    #[error("broken: {0}")]
    Violation(&'static str),
    /// Another version of MQTT: refused with return code 1.
    #[error("protocol level {0} is not MQTT 3.1.1")]
    Level(u8),
    /// The codec's words.
    #[error("malformed packet: {0}")]
    Malformed(#[from] CodecError),
}

/// Takes the first packet off `input`. `None`: more bytes are needed; the buffer has room for them.
pub(super) fn next(input: &mut BytesMut, longest: usize) -> Result<Option<Packet>, FrameError> {
    if let Some(first) = input.first() {
        // Before anything is waited for: it may be no MQTT at all.
        flags(*first)?;
    }
    let Some((header, body)) = lengths(input)? else { return Ok(None) };
    let length = header + body;
    if length > longest {
        return Err(FrameError::TooLong(length));
    }
    if input.len() < length {
        input.reserve(length - input.len());
        return Ok(None);
    }
    let mut frame = input.split_to(length);
    let first = frame.first().copied().unwrap_or_default();
    strict(first, frame.get(header..).unwrap_or_default())?;
    let packet = Packet::read(&mut frame, longest)?;
    match &packet {
        Packet::Publish(publish) if !is_topic(&publish.topic) => Err(FrameError::Violation(
            "MQTT-3.3.2-2, 4.7.3: a topic is not empty and has no wildcard and no NUL",
        )),
        Packet::Unsubscribe(unsubscribe) if unsubscribe.topics.is_empty() => {
            Err(FrameError::Violation("MQTT-3.10.3-2: an UNSUBSCRIBE names at least one filter"))
        }
        Packet::Connect(connect) if connect.client_id.contains('\0') => {
            Err(FrameError::Violation("MQTT-1.5.3-2: text has no NUL"))
        }
        Packet::Connect(connect) if connect.last_will.as_ref().is_some_and(|will| !is_topic(&will.topic)) => {
            Err(FrameError::Violation("MQTT-4.7.3: a will's topic is a topic"))
        }
        _ => Ok(Some(packet)),
    }
}

/// Lengths of the fixed header and of what follows it, once known.
fn lengths(input: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
    let mut length = 0usize;
    for (at, byte) in input.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((at + 2, length)));
        }
    }
    if input.len() >= 5 {
        Err(FrameError::Violation("MQTT-2.2.3: the length takes at most four bytes"))
    } else {
        Ok(None)
    }
}

/// Type and flags of the first byte.
fn flags(first: u8) -> Result<(), FrameError> {
    let demand = |holds: bool, rule| if holds { Ok(()) } else { Err(FrameError::Violation(rule)) };
    let flags = first & 0x0f;
    match first >> 4 {
        1 | 4 | 5 | 7 | 12 | 14 => demand(flags == 0, "MQTT-2.2.2-2: reserved flags"),
        3 => demand(flags & 0b1000 == 0 || flags & 0b0110 != 0, "MQTT-3.3.1-2: DUP without a QoS"),
        6 | 8 | 10 => demand(flags == 2, "MQTT-3.6.1-1, 3.8.1-1, 3.10.1-1: reserved flags"),
        _ => Err(FrameError::Violation("a packet that only a server sends, or of no known type")),
    }
}

/// The body of a packet whose first byte was found good.
fn strict(first: u8, body: &[u8]) -> Result<(), FrameError> {
    let demand = |holds: bool, rule| if holds { Ok(()) } else { Err(FrameError::Violation(rule)) };
    match first >> 4 {
        1 => connect(body),
        4..=7 => demand(body.len() == 2, "MQTT-3.4 to 3.7: the length of an acknowledgement"),
        8 => {
            demand(!body.starts_with(&[0, 0]), "MQTT-2.3.1-1: a packet identifier is not 0")?;
            subscribe(body.get(2..).unwrap_or_default())
        }
        10 => demand(!body.starts_with(&[0, 0]), "MQTT-2.3.1-1: a packet identifier is not 0"),
        12 | 14 => demand(body.is_empty(), "MQTT-3.12, 3.14: no body"),
        _ => Ok(()),
    }
}

fn connect(body: &[u8]) -> Result<(), FrameError> {
    let known = body.strip_prefix(&[0, 4, b'M', b'Q', b'T', b'T']);
    let old = body.strip_prefix(&[0, 6, b'M', b'Q', b'I', b's', b'd', b'p']);
    let Some(rest) = known.or(old) else {
        return Err(FrameError::Violation("MQTT-3.1.2-1: the protocol's name"));
    };
    match rest {
        [4, flags, ..] if known.is_some() => {
            if flags & 1 != 0 {
                return Err(FrameError::Violation("MQTT-3.1.2-3: the reserved bit of CONNECT"));
            }
            if flags & 0x80 == 0 && flags & 0x40 != 0 {
                return Err(FrameError::Violation("MQTT-3.1.2-22: a password without a user name"));
            }
            Ok(())
        }
        [level, ..] => Err(FrameError::Level(*level)),
        [] => Err(FrameError::Violation("MQTT-3.1.2-2: the protocol's level")),
    }
}

fn subscribe(mut filters: &[u8]) -> Result<(), FrameError> {
    while let [high, low, rest @ ..] = filters {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        match rest.get(length..) {
            Some([qos @ 0..=2, after @ ..]) => {
                let _ = qos;
                filters = after;
            }
            Some([_, ..]) => return Err(FrameError::Violation("MQTT-3.8.3-4: a requested QoS is 0, 1 or 2")),
            _ => return Ok(()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rumqttc::{Publish, QoS};

    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<Packet>, FrameError> {
        next(&mut BytesMut::from(bytes), 1024)
    }

    #[test]
    fn what_the_standard_forbids_is_refused() {
        let connect = |flags: u8| vec![0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 10, 0, 1, b'a'];
        assert!(matches!(read(&connect(2)), Ok(Some(Packet::Connect(_)))));
        for (what, bytes) in [
            ("reserved connect bit", connect(3)),
            ("password without user", connect(0x42)),
            ("wrong name", vec![0x10, 8, 0, 4, b'M', b'Q', b'T', b'X', 4, 2]),
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
            ("ping with a body", vec![0xc0, 1, 0]),
            ("a server's packet", vec![0x20, 2, 0, 0]),
            ("packet type 0", vec![0x00, 0]),
            ("packet type 15", vec![0xf0, 0]),
            ("endless length", vec![0x30, 0xff, 0xff, 0xff, 0xff]),
        ] {
            assert!(read(&bytes).is_err(), "{what}");
        }
        assert!(matches!(read(&[0x30, 0xff, 0x7f]), Err(FrameError::TooLong(16_386))));
        let v5 = [0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 10, 0, 0, 1, b'a'];
        assert!(matches!(read(&v5), Err(FrameError::Level(5))));
        let v3 = [0x10, 15, 0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3, 2, 0, 10, 0, 1, b'a'];
        assert!(matches!(read(&v3), Err(FrameError::Level(3))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_grow(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut input = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = next(&mut input, 1024) {}
            prop_assert!(input.capacity() <= 4096);
        }

        #[test]
        fn no_body_of_any_type_makes_the_reader_panic(
            first in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let mut bytes = vec![first, u8::try_from(body.len()).unwrap()];
            bytes.extend(body);
            let _ = read(&bytes);
        }

        #[test]
        fn a_packet_in_pieces_is_read_as_the_packet(
            topic in "[a-z$/]{1,20}", payload in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..400,
        ) {
            let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
            publish.pkid = 7;
            let mut bytes = BytesMut::new();
            publish.write(&mut bytes).unwrap();
            let cut = cut.min(bytes.len() - 1);
            let mut input = BytesMut::from(&bytes[..cut]);
            prop_assert!(next(&mut input, 1024).unwrap().is_none());
            input.extend_from_slice(&bytes[cut..]);
            prop_assert_eq!(next(&mut input, 1024).unwrap(), Some(Packet::Publish(publish)));
        }
    }
}
