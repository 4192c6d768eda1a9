//! Single turns of a session.

use std::time::Duration;

use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::session::{Ack, Dialect, Item, Outcome};
use tokio::time::Instant;

use super::{Input, Output, Session, Settings};
use crate::edgehub::{Report, RequestError, RowKey};

struct Turn {
    session: Session,
    now: Instant,
}

impl Turn {
    fn new(dialect: Dialect) -> Self {
        let now = Instant::now();
        let mut turn = Self { session: Session::new(&Settings::default(), dialect, 1, now), now };
        turn.give(Input::Tick);
        turn
    }

    fn give(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.session.step(input, self.now, &mut out);
        out
    }

    fn hear(&mut self, message: Message) -> Vec<Output> {
        self.give(Input::Received(vec![Item::Message(message)]))
    }
}

fn message(group: Group, operation: Operation, resource: &str, content: &str) -> Message {
    let route = Route::new(Source::EdgeController, group, operation, resource.into());
    Message::new(route, Content::from_json_text(content.into()).unwrap())
}

fn config_map() -> &'static str {
    r#"{"metadata":{"name":"c","uid":"u1","resourceVersion":"7"},"data":{}}"#
}

#[test]
fn the_first_thing_said_is_a_keepalive() {
    let now = Instant::now();
    let mut session = Session::new(&Settings::default(), Dialect::KubeEdge, 0, now);
    let mut out = Vec::new();
    session.step(Input::Tick, now, &mut out);
    assert!(matches!(&out[0], Output::Send(Item::Message(m)) if m.route.operation == Operation::Keepalive));
}

#[test]
fn a_push_is_acknowledged_only_after_it_is_on_disk() {
    let mut turn = Turn::new(Dialect::KubeEdge);
    let push = message(Group::Resource, Operation::Insert, "default/configmap/c", config_map());
    let id = push.header.id.clone();
    let out = turn.hear(push);
    assert!(matches!(&out[..], [Output::Store(messages)] if messages.len() == 1), "{out:?}");
    let out = turn.give(Input::Stored(vec![Outcome::Done]));
    assert!(
        matches!(&out[..], [Output::Send(Item::Ack(Ack { of, outcome: Outcome::Done, .. }))] if *of == id),
        "{out:?}"
    );
}

#[test]
fn pushes_that_come_while_the_disk_works_are_stored_together() {
    let mut turn = Turn::new(Dialect::SkerryV1);
    let push = || message(Group::Resource, Operation::Insert, "default/configmap/c", config_map());
    turn.hear(push());
    assert!(turn.hear(push()).is_empty());
    assert!(turn.hear(push()).is_empty());
    let out = turn.give(Input::Stored(vec![Outcome::Done]));
    assert!(matches!(&out[1], Output::Store(messages) if messages.len() == 2), "{out:?}");
}

#[test]
fn a_full_disk_says_no_and_the_cloud_sends_again() {
    let mut turn = Turn::new(Dialect::SkerryV1);
    turn.hear(message(Group::Resource, Operation::Insert, "default/configmap/c", config_map()));
    let out = turn.give(Input::Stored(vec![Outcome::Retry("full".into())]));
    assert!(matches!(&out[..], [Output::Send(Item::Ack(Ack { outcome: Outcome::Retry(_), .. }))]), "{out:?}");
}

#[test]
fn an_answer_that_carries_an_object_is_stored_acknowledged_and_given_to_who_asked() {
    let mut turn = Turn::new(Dialect::KubeEdge);
    let question = message(Group::Meta, Operation::Query, "default/configmap/c", "null");
    let answer = question.respond_as(
        Source::EdgeController,
        Group::Resource,
        Content::from_json_text(config_map().into()).unwrap(),
    );
    turn.give(Input::Request { ticket: 4, message: question, deadline: Duration::from_secs(60) });
    assert!(matches!(&turn.hear(answer)[..], [Output::Store(_)]));
    let out = turn.give(Input::Stored(vec![Outcome::Done]));
    assert!(
        matches!(&out[..], [Output::Send(Item::Ack(_)), Output::Answer { ticket: 4, answer: Ok(_) }]),
        "{out:?}"
    );
}

#[test]
fn a_failure_in_an_answer_is_never_stored() {
    let mut turn = Turn::new(Dialect::KubeEdge);
    for content in
        [r#"{"ErrStatus":{"status":"Failure","message":"no","reason":"NotFound","code":404}}"#, "{}"]
    {
        let question = message(Group::Meta, Operation::Query, "default/configmap/c", "null");
        let answer = question.respond_as(
            Source::EdgeController,
            Group::Resource,
            Content::from_json_text(content.into()).unwrap(),
        );
        turn.give(Input::Request { ticket: 4, message: question, deadline: Duration::from_secs(60) });
        let out = turn.hear(answer);
        assert!(matches!(&out[..], [Output::Answer { ticket: 4, answer: Ok(_) }]), "{out:?}");
    }
}

#[test]
fn a_question_that_is_not_answered_times_out() {
    let mut turn = Turn::new(Dialect::KubeEdge);
    let question = message(Group::Meta, Operation::Query, "default/configmap/c", "null");
    turn.give(Input::Request { ticket: 1, message: question, deadline: Duration::from_secs(3) });
    turn.now += Duration::from_secs(3);
    let out = turn.give(Input::Tick);
    assert!(
        matches!(&out[..], [Output::Answer { ticket: 1, answer: Err(RequestError::Timeout) }]),
        "{out:?}"
    );
}

#[test]
fn a_silent_link_is_noticed_within_its_deadline_and_a_slow_message_is_no_silence() {
    let mut turn = Turn::new(Dialect::SkerryV1);
    turn.now += Duration::from_secs(5);
    assert!(turn.give(Input::Tick).iter().any(|out| matches!(out, Output::Ping(1))));
    turn.now += Duration::from_secs(4);
    turn.give(Input::Heard);
    turn.now += Duration::from_secs(6);
    let out = turn.give(Input::Tick);
    assert!(!out.iter().any(|out| matches!(out, Output::Close(_))), "{out:?}");
    turn.now += Duration::from_secs(5);
    assert!(turn.give(Input::Tick).iter().any(|out| matches!(out, Output::Close(_))));
}

#[test]
fn an_event_to_a_kubeedge_cloud_counts_as_told_when_a_later_ping_is_answered() {
    let mut turn = Turn::new(Dialect::KubeEdge);
    let event = message(Group::Meta, Operation::Insert, "default/event/e", "{}");
    let report = Report { row: RowKey("event/default/e".into()), version: 3, message: event };
    let out = turn.give(Input::Ahead { outbox: 0, limit: 128, reports: Some(vec![report]) });
    assert!(matches!(&out[..], [Output::Send(_), Output::Ping(1), ..]), "{out:?}");
    let out = turn.give(Input::Pong(1));
    assert!(matches!(&out[0], Output::Confirm { version: 3, .. }), "{out:?}");
}

#[test]
fn a_message_of_a_rule_waits_for_a_skerry_clouds_word_and_for_kubeedges_pong() {
    let upload = || message(Group::User, Operation::Upload, "default/room/t", "\"x\"");
    let report = |message| Report { row: RowKey("default/room/t".into()), version: 3, message };
    let mut turn = Turn::new(Dialect::KubeEdge);
    turn.give(Input::Ahead { outbox: 0, limit: 128, reports: Some(vec![report(upload())]) });
    assert!(matches!(&turn.give(Input::Pong(1))[0], Output::Confirm { version: 3, .. }));

    let mut turn = Turn::new(Dialect::SkerryV1);
    let upload = upload();
    let ack = |outcome| Input::Received(vec![Item::Ack(Ack::of(&upload, outcome))]);
    turn.give(Input::Ahead { outbox: 0, limit: 128, reports: Some(vec![report(upload.clone())]) });
    assert!(turn.give(Input::Pong(1)).is_empty());
    assert!(turn.give(ack(Outcome::Retry("the target is away".into()))).is_empty());
    turn.now += Duration::from_secs(1);
    assert!(matches!(&turn.give(Input::Tick)[..], [.., Output::Pull { .. }]));
    turn.give(Input::Ahead { outbox: 0, limit: 128, reports: Some(vec![report(upload.clone())]) });
    assert!(matches!(&turn.give(ack(Outcome::Done))[0], Output::Confirm { version: 3, .. }));
}

#[test]
fn a_report_that_the_cloud_will_never_take_is_given_up_and_others_are_tried_again() {
    let mut turn = Turn::new(Dialect::KubeEdge);
    let patch =
        |name: &str| message(Group::Meta, Operation::Patch, &format!("default/podpatch/{name}"), "\"{}\"");
    let (gone, busy) = (patch("gone"), patch("busy"));
    let not_found = r#"{"Object":null,"Err":{"ErrStatus":{"status":"Failure","message":"no pod","reason":"NotFound","code":404}}}"#;
    let answer = gone.respond(Content::from_json_text(not_found.into()).unwrap());
    let failure = busy.fail("etcd is away");
    let report = |name: &str, message| Report { row: RowKey(name.into()), version: 1, message };
    let reports = vec![report("gone", gone), report("busy", busy)];
    turn.give(Input::Ahead { outbox: 0, limit: 128, reports: Some(reports) });
    assert!(matches!(&turn.hear(answer)[0], Output::Reject { reason, .. } if reason == "no pod"));
    assert!(turn.hear(failure).is_empty());
    turn.now += Duration::from_secs(1);
    let out = turn.give(Input::Tick);
    assert!(matches!(&out[..], [Output::Pull { in_flight, .. }] if in_flight.is_empty()), "{out:?}");
}

#[test]
fn a_message_for_a_module_that_is_not_here_is_refused_to_a_skerry_cloud_and_passed_over_for_kubeedges() {
    let strange = || message(Group::Other("csi".into()), Operation::Publish, "topic", "\"x\"");
    let out = Turn::new(Dialect::SkerryV1).hear(strange());
    assert!(
        matches!(&out[..], [Output::Send(Item::Ack(Ack { outcome: Outcome::Rejected(_), .. }))]),
        "{out:?}"
    );
    assert!(Turn::new(Dialect::KubeEdge).hear(strange()).is_empty());
}

#[test]
fn what_rules_want_is_stored_in_order_and_acknowledged_to_a_skerry_cloud_only() {
    for (dialect, acknowledgements) in [(Dialect::SkerryV1, 1), (Dialect::KubeEdge, 0)] {
        let mut turn = Turn::new(dialect);
        let out = turn.hear(message(Group::User, Operation::Publish, "topic", "\"x\""));
        assert!(matches!(&out[..], [Output::Store(messages)] if messages.len() == 1), "{out:?}");
        let out = turn.give(Input::Stored(vec![Outcome::Done]));
        assert_eq!(out.len(), acknowledgements, "{out:?}");
    }
}

#[test]
fn a_row_that_changes_while_it_is_on_its_way_is_told_again_after_the_answer() {
    let mut turn = Turn::new(Dialect::SkerryV1);
    let patch = message(Group::Meta, Operation::Patch, "default/podpatch/web", "\"{}\"");
    let ack = Ack::of(&patch, Outcome::Done);
    let report = Report { row: RowKey("web".into()), version: 1, message: patch };
    turn.give(Input::Ahead { outbox: 0, limit: 128, reports: Some(vec![report]) });
    let out = turn.give(Input::Changed(0));
    assert!(matches!(&out[..], [Output::Pull { in_flight, .. }] if in_flight.len() == 1), "{out:?}");
    turn.give(Input::Ahead { outbox: 0, limit: 128, reports: Some(Vec::new()) });
    let out = turn.give(Input::Received(vec![Item::Ack(ack)]));
    assert!(
        matches!(&out[..], [Output::Confirm { .. }, Output::Pull { in_flight, .. }] if in_flight.is_empty()),
        "{out:?}"
    );
}
