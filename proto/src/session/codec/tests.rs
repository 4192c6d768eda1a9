use super::*;
use crate::message::{Content, Group, Message, Operation, Route, Source};
use crate::resource::{ObjectKey, Resource, ResourceKind};
use crate::session::{Ack, Held, Inventory, Outcome};

fn json() -> Codec {
    Codec::new(Dialect::KubeEdge, Limits::default())
}

fn skerry() -> Codec {
    Codec::new(Dialect::SkerryV1, Limits::default())
}

fn pod_push() -> Message {
    let route = Route::new(
        Source::EdgeController,
        Group::Resource,
        Operation::Insert,
        Resource::from("default/pod/web"),
    );
    let content = Content::json(&serde_json::json!({"metadata": {"name": "web", "uid": "u1"}})).unwrap();
    Message::new(route, content).with_resource_version("2001")
}

fn text_of(frame: &Frame) -> &str {
    let Frame::Text(text) = frame else { panic!("{frame:?} is not text") };
    text
}

#[test]
fn the_json_of_a_push_has_kubeedges_keys_in_kubeedges_order() {
    let push = pod_push();
    let frames = json().encode(&[Item::Message(push.clone())]).unwrap();
    let (id, time) = (&push.header.id, push.header.timestamp);
    assert_eq!(
        text_of(&frames[0]),
        format!(
            "{{\"header\":{{\"msg_id\":\"{id}\",\"timestamp\":{time},\"resourceversion\":\"2001\"}},\"route\":{{\"source\":\"edgecontroller\",\"group\":\"resource\",\"operation\":\"insert\",\"resource\":\"default/pod/web\"}},\"content\":{{\"metadata\":{{\"name\":\"web\",\"uid\":\"u1\"}}}}}}\n"
        )
    );
    assert_eq!(json().decode(frames[0].clone()).unwrap(), vec![Item::Message(push)]);
}

#[test]
fn an_acknowledgement_is_an_ok_response_in_json_and_a_refusal_an_error() {
    let push = pod_push();
    let mut answers = Vec::new();
    for outcome in [Outcome::Done, Outcome::Retry("disk full".into())] {
        let frames = json().encode(&[Item::Ack(Ack::of(&push, outcome))]).unwrap();
        let mut items = json().decode(frames[0].clone()).unwrap();
        let Some(Item::Message(answer)) = items.pop() else { panic!("no message") };
        assert_eq!(answer.header.parent.as_ref(), Some(&push.header.id));
        answers.push(answer);
    }
    assert_eq!(answers[0].route, Route { operation: Operation::Response, ..push.route });
    assert!(answers[0].content.is_ok_literal());
    assert_eq!(answers[1].route.operation, Operation::Error);
    assert_eq!(answers[1].content.as_str().unwrap(), "disk full");
}

#[test]
fn json_keys_match_in_any_case_unknown_ones_and_trailing_text_are_ignored() {
    let text = r#" {"Header":{"MSG_ID":"a","sync":false,"timestamp":1},"ROUTE":{"Source":"edged","destination":"x"},"extra":[{}]} trailing"#;
    let items = json().decode(Frame::binary(text)).unwrap();
    let Item::Message(message) = &items[0] else { panic!("no message") };
    assert_eq!(message.route.source, Source::Edged);
    assert!(message.content.is_null() && message.route.resource == Resource::None);
}

#[test]
fn malformed_json_is_named_by_field_and_place() {
    for (text, expected) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("[]", "invalid type: sequence, expected a message"),
        (r#"{"route":{}}"#, "header is missing"),
        (r#"{"header":{"timestamp":1},"route":{}}"#, "header.msg_id is missing"),
        (
            r#"{"header":{"msg_id":"a","timestamp":"x"},"route":{}}"#,
            "header.timestamp: invalid type: string \"x\", expected i64 at line 1 column 39",
        ),
        (r#"{"header":{"msg_id":"a"},"route":{"source":7}}"#, "route.source: invalid type: integer `7`"),
        (r#"{"header":{"msg_id":"a"},"route":{},"content":{"a":}}"#, "expected value at line 1"),
    ] {
        let error = json().decode(Frame::text(text)).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(json().decode(Frame::binary(vec![b'{', 0xff, 0xfe])).is_err());
}

#[test]
fn what_is_over_the_limit_is_neither_sent_nor_read() {
    let limits = Limits { message_bytes: 200, ..Limits::default() };
    for dialect in [Dialect::KubeEdge, Dialect::SkerryV1] {
        let codec = Codec::new(dialect, limits);
        let mut big = pod_push();
        big.content = Content::text(&"x".repeat(300));
        assert!(matches!(codec.encode(&[Item::Message(big)]), Err(EncodeError::TooLong { .. })));
        assert!(matches!(
            codec.decode(Frame::binary(vec![0; 201])),
            Err(DecodeError::TooLong { bytes: 201, limit: 200 })
        ));
    }
}

#[test]
fn several_items_share_a_frame_and_come_back_in_order() {
    let push = pod_push();
    let ack = Ack {
        route: Route::new(Source::None, Group::None, Operation::Response, Resource::None),
        ..Ack::of(&push, Outcome::Rejected("bad".into()))
    };
    let held = Held {
        key: ObjectKey::namespaced("default", ResourceKind::Pod, "web"),
        uid: "u1".into(),
        resource_version: "7".into(),
    };
    let items = vec![
        Item::Message(push),
        Item::Ack(ack),
        Item::Inventory(Inventory { held: vec![held], last: true }),
    ];
    let mut frames = skerry().encode(&items).unwrap();
    assert_eq!(frames.len(), 1);
    assert_eq!(skerry().decode(frames.remove(0)).unwrap(), items);
}

#[test]
fn a_batch_is_cut_into_frames_of_the_agreed_size() {
    let limits = Limits { frame_bytes: 1000, items: 3, held: 2, ..Limits::default() };
    let codec = Codec::new(Dialect::SkerryV1, limits);
    let mut items: Vec<Item> = (0..10).map(|_| Item::Message(pod_push())).collect();
    let mut big = pod_push();
    big.content = Content::text(&"x".repeat(5000));
    items.push(Item::Message(big));
    let frames = codec.encode(&items).unwrap();
    assert!(frames.len() >= 5 && frames.iter().filter(|f| f.len() > 1000).count() == 1);
    let decoded: Vec<Item> = frames.into_iter().flat_map(|f| codec.decode(f).unwrap()).collect();
    assert_eq!(decoded, items);
}

#[test]
fn a_long_inventory_travels_in_chunks_and_only_the_last_is_marked() {
    let limits = Limits { held: 2, ..Limits::default() };
    let codec = Codec::new(Dialect::SkerryV1, limits);
    let held = |n: usize| Held {
        key: ObjectKey::node(format!("n{n}")),
        uid: format!("u{n}"),
        resource_version: "1".into(),
    };
    let whole = Inventory { held: (0..5).map(held).collect(), last: true };
    let frames = codec.encode(&[Item::Inventory(whole.clone())]).unwrap();
    let chunks: Vec<Inventory> = frames
        .into_iter()
        .flat_map(|f| codec.decode(f).unwrap())
        .map(|item| match item {
            Item::Inventory(chunk) => chunk,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(chunks.iter().map(|c| c.last).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(chunks.into_iter().flat_map(|c| c.held).collect::<Vec<_>>(), whole.held);
    let empty = codec.encode(&[Item::Inventory(Inventory { held: vec![], last: true })]).unwrap();
    assert_eq!(
        codec.decode(empty[0].clone()).unwrap(),
        [Item::Inventory(Inventory { held: vec![], last: true })]
    );
}

#[test]
fn a_frame_of_a_million_empty_items_is_refused_before_it_is_stored() {
    let bomb = [0x0a, 0x00].repeat(1 << 20);
    let error = skerry().decode(Frame::binary(bomb)).unwrap_err().to_string();
    assert!(error.contains("item 0 at byte 0: expected exactly one of"), "{error}");
    let entries = [0x0a, 0x00].repeat(1 << 20);
    let mut frame = vec![0x1a];
    prost::encoding::encode_varint(entries.len() as u64, &mut frame);
    frame.extend(entries);
    let mut outer = vec![0x0a];
    prost::encoding::encode_varint(frame.len() as u64, &mut outer);
    outer.extend(frame);
    assert!(skerry().decode(Frame::binary(outer)).is_err());
}

#[test]
fn a_length_that_lies_is_named() {
    let error = skerry().decode(Frame::binary(vec![0x0a, 0xff, 0xff, 0x03, 1])).unwrap_err().to_string();
    assert_eq!(error, "malformed skerry.v1 frame: item 0 at byte 0: field 1 claims 65535 bytes, 1 are left");
    assert!(matches!(skerry().decode(Frame::text("{}")), Err(DecodeError::TextInBinaryDialect)));
}
