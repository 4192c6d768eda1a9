//! A client of either version that speaks bytes: what no codec would send, and no codec would show. What it waits for
//! is named, so that a failure says which statement of the standards is broken.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest that an answer takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// So long nothing must come.
const SILENCE: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Three,
    Five,
}
pub(crate) use Version::{Five, Three};

pub(crate) const BOTH: [Version; 2] = [Three, Five];

impl Version {
    /// The bytes that stand for "no properties".
    pub(crate) fn none(self) -> &'static [u8] {
        if self == Five { &[0] } else { &[] }
    }
}

/// A packet as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

/// A PUBLISH as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) first: u8,
    pub(crate) topic: String,
    pub(crate) pid: Option<u16>,
    /// MQTT 5: without their length.
    pub(crate) properties: Vec<u8>,
    pub(crate) payload: String,
}

impl Heard {
    pub(crate) fn qos(&self) -> u8 {
        self.first >> 1 & 3
    }

    pub(crate) fn dup(&self) -> bool {
        self.first & 8 != 0
    }

    pub(crate) fn retain(&self) -> bool {
        self.first & 1 != 0
    }
}

/// A CONNECT. The default is a clean session that ends with the connection.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) flags: u8,
    pub(crate) keep_alive: u16,
    /// Of MQTT 5.
    pub(crate) properties: Vec<u8>,
    pub(crate) id: Vec<u8>,
    /// Will, user name, password.
    pub(crate) rest: Vec<u8>,
}

impl Hello {
    pub(crate) fn clean(id: &str) -> Self {
        Self { flags: 2, keep_alive: 60, properties: Vec::new(), id: text(id), rest: Vec::new() }
    }

    /// A session that goes on and lasts.
    pub(crate) fn lasting(id: &str) -> Self {
        Self { flags: 0, properties: vec![0x11, 0, 0, 0, 100], ..Self::clean(id) }
    }

    /// With a will of this quality; its properties are those of MQTT 5.
    pub(crate) fn will(mut self, v: Version, qos: u8, retain: bool, topic: &[u8], properties: &[u8]) -> Self {
        self.flags |= 4 | qos << 3 | u8::from(retain) << 5;
        if v == Five {
            self.rest.push(u8::try_from(properties.len()).unwrap());
            self.rest.extend_from_slice(properties);
        }
        self.rest.extend(binary(topic));
        self.rest.extend(text("gone"));
        self
    }

    pub(crate) fn bytes(&self, v: Version) -> Vec<u8> {
        let mut body = text("MQTT");
        body.extend([if v == Five { 5 } else { 4 }, self.flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if v == Five {
            body.push(u8::try_from(self.properties.len()).unwrap());
            body.extend_from_slice(&self.properties);
        }
        body.extend_from_slice(&self.id);
        body.extend_from_slice(&self.rest);
        packet(0x10, &body)
    }
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

pub(crate) fn binary(bytes: &[u8]) -> Vec<u8> {
    let mut all = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    all.extend_from_slice(bytes);
    all
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut all = vec![first];
    let mut length = body.len();
    loop {
        let more = if length > 127 { 0x80 } else { 0 };
        all.push(u8::try_from(length & 127).unwrap() | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    all.extend_from_slice(body);
    all
}

/// A PUBLISH; `flags` are DUP, QoS and RETAIN.
pub(crate) fn publish(v: Version, flags: u8, topic: &[u8], pid: u16, payload: &str) -> Vec<u8> {
    publish_with(v, flags, topic, pid, &[], payload)
}

pub(crate) fn publish_with(
    v: Version,
    flags: u8,
    topic: &[u8],
    pid: u16,
    properties: &[u8],
    payload: &str,
) -> Vec<u8> {
    let mut body = binary(topic);
    if flags & 6 != 0 {
        body.extend(pid.to_be_bytes());
    }
    if v == Five {
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(payload.as_bytes());
    packet(0x30 | flags, &body)
}

/// A SUBSCRIBE: filters, each with its options.
pub(crate) fn subscribe(v: Version, pid: u16, filters: &[(&[u8], u8)]) -> Vec<u8> {
    let mut body = pid.to_be_bytes().to_vec();
    body.extend_from_slice(v.none());
    for (filter, options) in filters {
        body.extend(binary(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

pub(crate) fn unsubscribe(v: Version, pid: u16, filters: &[&[u8]]) -> Vec<u8> {
    let mut body = pid.to_be_bytes().to_vec();
    body.extend_from_slice(v.none());
    for filter in filters {
        body.extend(binary(filter));
    }
    packet(0xa2, &body)
}

/// PUBACK (0x40), PUBREC (0x50), PUBREL (0x62), PUBCOMP (0x70).
pub(crate) fn ack(first: u8, pid: u16) -> Vec<u8> {
    packet(first, &pid.to_be_bytes())
}

pub(crate) struct Raw {
    pub(crate) v: Version,
    stream: TcpStream,
    input: Vec<u8>,
    last: u16,
}

impl Raw {
    pub(crate) async fn open(port: u16, v: Version) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { v, stream, input: Vec::new(), last: 0 }
    }

    /// Comes in as `id` with a session that ends with the connection.
    pub(crate) async fn connect(port: u16, v: Version, id: &str) -> Self {
        Self::enter(port, v, &Hello::clean(id)).await.0
    }

    /// Comes in; also says whether there was a session.
    pub(crate) async fn enter(port: u16, v: Version, hello: &Hello) -> (Self, bool) {
        let mut raw = Self::open(port, v).await;
        raw.send(&hello.bytes(v)).await;
        let answer = raw.some("a CONNACK").await;
        assert_eq!((answer.first, answer.body[1]), (0x20, 0), "let in: {hello:?}, {answer:?}");
        (raw, answer.body[0] == 1)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // A broker that closed already is what some tests wait for.
        let _ = self.stream.write_all(bytes).await;
    }

    async fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some((header, length)) = lengths(&self.input)
                && self.input.len() >= header + length
            {
                let rest = self.input.split_off(header + length);
                let body = self.input[header..].to_vec();
                let first = self.input[0];
                self.input = rest;
                return Some(Frame { first, body });
            }
            if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next packet; `None` when the broker closed the connection. `what` is what a failure says.
    pub(crate) async fn next(&mut self, what: &str) -> Option<Frame> {
        let read = timeout(PATIENCE, self.read()).await;
        read.unwrap_or_else(|_| panic!("{:?}, {what}: nothing comes", self.v))
    }

    pub(crate) async fn some(&mut self, what: &str) -> Frame {
        let next = self.next(what).await;
        next.unwrap_or_else(|| panic!("{:?}, {what}: closed", self.v))
    }

    /// The next packet is this one.
    pub(crate) async fn gets(&mut self, bytes: &[u8], what: &str) {
        let frame = self.some(what).await;
        assert_eq!(packet(frame.first, &frame.body), bytes, "{:?}, {what}", self.v);
    }

    pub(crate) async fn is_silent(&mut self, what: &str) {
        if let Ok(next) = timeout(SILENCE, self.read()).await {
            panic!("{:?}, {what}: nothing was to come, not {next:?}", self.v);
        }
    }

    /// The broker closes. What it says before: the reason of its DISCONNECT or the code of its CONNACK.
    pub(crate) async fn is_put_out(&mut self, what: &str) -> Option<u8> {
        let mut reason = None;
        while let Some(frame) = self.next(what).await {
            match frame.first {
                0xe0 => reason = frame.body.first().copied(),
                0x20 => reason = frame.body.get(1).copied(),
                _ => assert_eq!(reason, None, "{:?}, {what}: nothing comes after the last word", self.v),
            }
        }
        reason
    }

    /// It is served.
    pub(crate) async fn is_served(&mut self, what: &str) {
        self.send(&[0xc0, 0]).await;
        self.gets(&[0xd0, 0], what).await;
    }

    /// It is served, after what it may be told of answers that fit nothing.
    pub(crate) async fn is_served_after_answers(&mut self, what: &str) {
        self.send(&[0xc0, 0]).await;
        loop {
            let frame = self.some(what).await;
            match frame.first {
                0xd0 => return,
                first => assert_eq!(first, 0x62, "{:?}, {what}: {frame:?}", self.v),
            }
        }
    }

    /// Subscribes to one filter; the code of the SUBACK.
    pub(crate) async fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.send(&subscribe(self.v, 7, &[(filter.as_bytes(), options)])).await;
        let answer = self.some("a SUBACK").await;
        assert_eq!((answer.first, &answer.body[..2]), (0x90, &[0, 7][..]), "{filter}");
        *answer.body.last().unwrap()
    }

    /// Publishes with QoS 1, and waits for the PUBACK.
    pub(crate) async fn says(&mut self, topic: &str, payload: &str) {
        self.tells(2, topic, payload).await;
    }

    /// The same with these flags, whose QoS is 1.
    pub(crate) async fn tells(&mut self, flags: u8, topic: &str, payload: &str) {
        self.last += 1;
        let pid = self.last;
        self.send(&publish(self.v, flags, topic.as_bytes(), pid, payload)).await;
        self.gets(&ack(0x40, pid), "a PUBACK").await;
    }

    /// The next message, without a word about it.
    pub(crate) async fn receives(&mut self, what: &str) -> Heard {
        let frame = self.some(what).await;
        self.heard(&frame, what)
    }

    /// What a PUBLISH says.
    pub(crate) fn heard(&self, frame: &Frame, what: &str) -> Heard {
        let Frame { first, body } = frame;
        assert_eq!(first >> 4, 3, "{:?}, {what}: a PUBLISH, not {frame:x?}", self.v);
        let (topic, mut rest) = body[2..].split_at(usize::from(u16::from_be_bytes([body[0], body[1]])));
        let pid = (first & 6 != 0).then(|| u16::from_be_bytes([rest[0], rest[1]]));
        rest = &rest[if pid.is_some() { 2 } else { 0 }..];
        let mut properties = Vec::new();
        if self.v == Five {
            let (header, length) = lengths(&[&[0], rest].concat()).unwrap();
            properties = rest[header - 1..header - 1 + length].to_vec();
            rest = &rest[header - 1 + length..];
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Heard { first: *first, topic: text(topic), pid, properties, payload: text(rest) }
    }

    /// The next message, settled.
    pub(crate) async fn hears(&mut self, what: &str) -> Heard {
        let heard = self.receives(what).await;
        match (heard.qos(), heard.pid) {
            (1, Some(pid)) => self.send(&ack(0x40, pid)).await,
            (2, Some(pid)) => {
                self.send(&ack(0x50, pid)).await;
                self.gets(&ack(0x62, pid), what).await;
                self.send(&ack(0x70, pid)).await;
            }
            _ => {}
        }
        heard
    }

    pub(crate) async fn leave(mut self) {
        self.send(&[0xe0, 0]).await;
        assert_eq!(self.next("goodbye").await, None, "{:?}: nothing follows a goodbye", self.v);
    }

    /// Goes without a word, and gives the broker the time to see it.
    pub(crate) async fn vanish(self) {
        drop(self);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Lengths of the fixed header and of what follows it.
fn lengths(input: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (at, byte) in input.iter().enumerate().skip(1).take(4) {
        length |= usize::from(byte & 127) << (7 * (at - 1));
        if byte & 128 == 0 {
            return Some((at + 1, length));
        }
    }
    None
}

/// Each of these puts the client out that sends it after it came in, and nobody else.
pub(crate) async fn each_is_put_out(port: u16, v: Version, cases: &[(&str, Vec<u8>)]) {
    let mut bystander = Raw::connect(port, v, "bystander").await;
    for (what, bytes) in cases {
        let mut rude = Raw::connect(port, v, "rude").await;
        rude.send(bytes).await;
        let reason = rude.is_put_out(what).await;
        if v == Five {
            // 4.13.1-1, 4.13.2-1: MQTT 5 says why.
            assert!(reason >= Some(0x80), "Five, {what}: {reason:?} is no reason");
        }
    }
    bystander.is_served("who did nothing wrong").await;
}
