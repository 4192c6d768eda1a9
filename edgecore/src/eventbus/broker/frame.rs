//! Cutting bytes into MQTT packets, and packets into bytes, for both versions.
//!
//! Inside, the broker speaks MQTT 5 alone: a packet of 3.1.1 is read as the packet of 5 that means the same, and written
//! back as what 3.1.1 has for it. mqtt-proto's codec does the bytes; what it lets pass and the standards do not is in
//! [`rules`].

mod error;
mod rules;
#[cfg(test)]
mod tests;
mod texts;

use bytes::BytesMut;
use mqtt_proto::v5::Packet;
use mqtt_proto::{PollHeader, v3, v5};

use super::translate;
pub(super) use error::FrameError;

/// Which MQTT a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 3.1.1.
    V3,
    /// 5.
    V5,
}

/// One connection's packets. The version is fixed by its CONNECT.
#[derive(Debug)]
pub(super) struct Frames {
    version: Option<Version>,
    longest: usize,
    /// Longest packet that the client takes.
    pub(super) client_longest: usize,
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
                rules::check_flags(body)?;
                version
            }
        };
        let packet = match version {
            Version::V3 => translate::from_v3(read_v3(first, body)?),
            Version::V5 => read_v5(first, body)?,
        };
        rules::check(&packet, version)?;
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
