//! What devices get for what they send, without any broker or disk.

use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_795_246_772_068;

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

fn model() -> Arc<Model> {
    let rule = |kind, mode, min, max| Rule::new(kind, mode, min, max);
    let rules = [
        ("temperature", rule("INT", "ReadWrite", None, Some("100"))),
        ("pressure", rule("DOUBLE", "ReadOnly", Some("0.5"), Some("9"))),
        ("led", rule("BOOLEAN", "ReadWrite", None, None)),
        ("blob", rule("BYTES", "ReadWrite", None, None)),
        ("label", rule("STRING", "ReadWrite", None, Some("5"))),
    ];
    Arc::new(Model { rules: rules.into_iter().map(|(name, rule)| (name.to_owned(), rule)).collect() })
}

fn objects(uid: &str, desired: &[(&str, &str)]) -> Objects {
    let values = desired.iter().map(|(k, v)| ((*k).to_owned(), ((*v).to_owned(), None))).collect();
    let desired = Desired { uid: uid.into(), description: None, model: model(), values };
    Objects([(id("default/s1"), desired)].into())
}

fn engine() -> Engine {
    let mut engine = Engine::new(BTreeMap::new(), Limits::default(), 7);
    assert!(engine.sync(&objects("u1", &[]), NOW).durable);
    engine.commit();
    engine
}

fn ask(engine: &mut Engine, verb: Verb, payload: Value) -> Turn {
    let payload = match payload {
        Value::String(raw) => Bytes::from(raw),
        value => Bytes::from(value.to_string()),
    };
    engine.handle(&Request::Device { device: id("default/s1"), verb, payload }, NOW)
}

fn update(engine: &mut Engine, payload: Value) -> Turn {
    ask(engine, Verb::TwinUpdate, payload)
}

fn body(notice: &Notice) -> Value {
    serde_json::from_slice(&notice.payload).unwrap()
}

fn kinds(turn: &Turn) -> Vec<&'static str> {
    let kind = |notice: &Notice| match notice.to {
        Channel::GetResult(_) => "get/result",
        Channel::UpdateResult(_) => "result",
        Channel::Document(_) => "document",
        Channel::Delta(_) => "delta",
        Channel::StateResult(_) => "state/result",
        Channel::MembershipResult => "membership/result",
        Channel::MembershipUpdated => "membership/updated",
    };
    turn.notices.iter().map(kind).collect()
}

#[test]
fn a_reported_value_is_answered_documented_and_ahead_of_the_cloud() {
    let mut engine = engine();
    let turn = update(
        &mut engine,
        json!({"event_id":"u1","twin":{"temperature":{"actual":{"value":"21"},"metadata":{"type":"int"}}}}),
    );
    assert_eq!(kinds(&turn), ["result", "document"]);
    assert!(turn.durable);
    let twin = json!({"actual":{"value":"21","metadata":{"timestamp":NOW}},"optional":true,"metadata":{"type":"int"}});
    assert_eq!(body(&turn.notices[0]), json!({"event_id":"u1","timestamp":NOW,"twin":{"temperature":twin}}));
    assert_eq!(
        body(&turn.notices[1]),
        json!({"event_id":"u1","timestamp":NOW,"twin":{"temperature":{"last":null,"current":twin}}})
    );
    engine.commit();
    let [ahead] = &engine.ahead(10, |_| false, NOW)[..] else { panic!() };
    let content: Value = serde_json::from_str(&ahead.content).unwrap();
    assert_eq!(
        content["twin"],
        json!({"temperature":{"actual":{"value":"21","metadata":{"timestamp":NOW}},"optional":true,
            "metadata":{"type":"int"},"actual_version":{"cloud":0,"edge":1}}})
    );
    engine.confirm(&ahead.row, ahead.version);
    assert_eq!(engine.backlog(), 0);
}

#[test]
fn an_equal_value_is_answered_and_nothing_else() {
    let mut engine = engine();
    let report = json!({"event_id":"u","twin":{"t2":{"actual":{"value":"x"}}}});
    update(&mut engine, report.clone());
    engine.commit();
    let turn = update(&mut engine, report);
    assert_eq!(kinds(&turn), ["result"]);
    assert!(!turn.durable && engine.changes().is_empty());
    assert_eq!(body(&turn.notices[0])["twin"]["t2"]["actual"]["value"], "x");
}

#[test]
fn values_that_break_the_model_are_refused_with_the_reason_and_change_nothing() {
    let mut engine = engine();
    for (twin, reason) in [
        (json!({"temperature":{"actual":{"value":"warm"}}}), "the value is not int or integer"),
        (json!({"temperature":{"actual":{"value":""}}}), "the value is not int or integer"),
        (
            json!({"temperature":{"actual":{"value":"1.5"},"metadata":{"type":"float"}}}),
            "the value is not int or integer",
        ),
        (
            json!({"temperature":{"actual":{"value":"500"}}}),
            "the value 500 of temperature is above the model's maximum 100",
        ),
        (
            json!({"pressure":{"actual":{"value":"0.1"}}}),
            "the value 0.1 of pressure is below the model's minimum 0.5",
        ),
        (
            json!({"pressure":{"actual":{"value":"NaN"}}}),
            "the value NaN of pressure is below the model's minimum 0.5",
        ),
        (
            json!({"pressure":{"expected":{"value":"1"}}}),
            "pressure is ReadOnly in the device's model: it can be reported, not expected",
        ),
        (json!({"led":{"actual":{"value":"True"}}}), "the bool value must be true or false"),
        (json!({"blob":{"actual":{"value":"A"}}}), "the value is neither base64 nor hex"),
        (
            json!({"new":{"actual":{"value":"1.5"},"metadata":{"type":"double"}}}),
            "the value type is not allowed",
        ),
        (json!({"ok":{"actual":{"value":"fine"}},"temperature":{"actual":{"value":"101"}}}), "above"),
    ] {
        let turn = update(&mut engine, json!({"event_id":"e","twin":twin}));
        let answer = body(&turn.notices[0]);
        assert_eq!((&answer["code"], &answer["event_id"]), (&json!(400), &json!("e")), "{twin}");
        assert!(answer["reason"].as_str().unwrap().contains(reason), "{answer} for {twin}");
        assert_eq!(kinds(&turn), ["result"]);
        assert!(!turn.durable && engine.changes().is_empty(), "{twin}");
    }
    for twin in [
        json!({"pressure":{"actual":{"value":"1.5"},"metadata":{"type":"double"}}}),
        json!({"blob":{"actual":{"value":"AQI="}}}),
        json!({"label":{"actual":{"value":"77"}}}),
        json!({"temperature":{"actual":{"value":"7"},"metadata":{"type":"string"}}}),
    ] {
        assert!(update(&mut engine, json!({"twin":twin})).refused.is_none(), "{twin}");
    }
}

#[test]
fn an_unknown_device_gets_404_on_its_own_topic() {
    let mut engine = engine();
    let ghost = id("default/ghost");
    let payload = Bytes::from_static(br#"{"event_id":"u12","twin":{}}"#);
    let mut ask = |verb| {
        let request = Request::Device { device: ghost.clone(), verb, payload: payload.clone() };
        let turn = engine.handle(&request, NOW);
        (turn.notices[0].to.clone(), body(&turn.notices[0]))
    };
    let (to, answer) = ask(Verb::TwinUpdate);
    assert_eq!(to, Channel::UpdateResult(ghost.clone()));
    assert_eq!(
        answer,
        json!({"event_id":"u12","timestamp":NOW,"code":404,"reason":"update rejected due to the device is not existed"})
    );
    assert_eq!(ask(Verb::TwinGet).1["reason"], "Device default/ghost not found while getting twin");
}

#[test]
fn what_is_expected_is_repeated_until_it_is_so() {
    let mut engine = engine();
    update(&mut engine, json!({"twin":{"t2":{"actual":{"value":"5"},"metadata":{"type":"int"}}}}));
    let turn = update(&mut engine, json!({"twin":{"t2":{"expected":{"value":"7"}}}}));
    assert_eq!(kinds(&turn), ["result", "document", "delta"]);
    assert_eq!(body(&turn.notices[2])["delta"], json!({"t2":"7"}));
    // The device says that it is not there yet: it is told again.
    assert_eq!(
        kinds(&update(&mut engine, json!({"twin":{"t2":{"actual":{"value":"5"}}}}))),
        ["result", "delta"]
    );
    // An update about nothing is no reason.
    assert_eq!(kinds(&update(&mut engine, json!({"twin":{}}))), ["result"]);
    let turn = update(&mut engine, json!({"twin":{"t2":{"actual":{"value":"7"}}}}));
    assert_eq!(kinds(&turn), ["result", "document"]);
}

#[test]
fn a_desired_value_of_the_object_reaches_the_device_once_per_change() {
    let mut engine = engine();
    let turn = engine.sync(&objects("u1", &[("temperature", "25")]), NOW);
    assert_eq!(kinds(&turn), ["document", "delta"]);
    assert_eq!(body(&turn.notices[1])["delta"], json!({"temperature":"25"}));
    engine.commit();
    assert!(engine.sync(&objects("u1", &[("temperature", "25")]), NOW).notices.is_empty());
    // A local client wants something else; the object did not change, so it stays.
    update(&mut engine, json!({"twin":{"temperature":{"expected":{"value":"30"}}}}));
    assert!(engine.sync(&objects("u1", &[("temperature", "25")]), NOW).notices.is_empty());
    let twin = &engine.device(&id("default/s1")).unwrap().twins["temperature"];
    assert_eq!(twin.expected.value.as_deref(), Some("30"));
    assert_eq!(twin.expected.version, Version { cloud: 1, edge: 1 });
    // Outside the model's range or read-only: not passed on, nothing breaks.
    assert!(
        engine.sync(&objects("u1", &[("temperature", "500"), ("pressure", "1")]), NOW).notices.is_empty()
    );
    let turn = engine.sync(&objects("u1", &[("temperature", "26")]), NOW);
    assert_eq!(kinds(&turn), ["document", "delta"]);
    let turn = engine.sync(&objects("u1", &[]), NOW);
    assert_eq!(kinds(&turn), ["document"]);
}

#[test]
fn null_deletes_an_optional_property_and_only_that() {
    let mut engine = engine();
    update(
        &mut engine,
        json!({"twin":{"t2":{"actual":{"value":"5"},"metadata":{"type":"int"}},"keep":{"actual":{"value":"x"},"optional":false}}}),
    );
    let turn = update(&mut engine, json!({"event_id":"d","twin":{"t2":null}}));
    assert_eq!(body(&turn.notices[0]), json!({"event_id":"d","timestamp":NOW,"twin":{"t2":null}}));
    assert_eq!(body(&turn.notices[1])["twin"]["t2"]["current"], Value::Null);
    assert_eq!(body(&turn.notices[1])["twin"]["t2"]["last"]["actual"]["value"], "5");
    let turn = update(&mut engine, json!({"twin":{"keep":null}}));
    assert_eq!(body(&turn.notices[0])["twin"], json!({}));
    // Unknown keys are no reason to stop: the rest of the message counts.
    let turn = update(&mut engine, json!({"twin":{"nope":null,"keep":{"actual":{"value":"y"}}}}));
    assert_eq!(kinds(&turn), ["result", "document"]);
    let turn = ask(&mut engine, Verb::TwinGet, json!({}));
    let twins = body(&turn.notices[0]);
    assert_eq!(twins["twin"].as_object().unwrap().keys().collect::<Vec<_>>(), ["keep"]);
    // It may come back as another type.
    let turn = update(&mut engine, json!({"twin":{"t2":{"actual":{"value":"hot"}}}}));
    assert_eq!(body(&turn.notices[1])["twin"]["t2"]["last"], Value::Null);
}

#[test]
fn states_are_answered_and_wrong_words_too() {
    let mut engine = engine();
    let turn = ask(&mut engine, Verb::StateUpdate, json!({"event_id":"s1","state":"Online"}));
    let answer = body(&turn.notices[0]);
    assert_eq!(
        answer["device"],
        json!({"name":"s1","state":"Online","lastOnlineTime":"2026-11-21T07:39:32Z"})
    );
    assert!(turn.durable);
    engine.commit();
    assert!(!ask(&mut engine, Verb::StateUpdate, json!({"state":"Online"})).durable);
    let turn = ask(&mut engine, Verb::StateUpdate, json!({"event_id":"s2","state":"sleepy"}));
    let answer = body(&turn.notices[0]);
    assert_eq!((&answer["code"], &answer["event_id"]), (&json!(400), &json!("s2")));
    assert!(answer["reason"].as_str().unwrap().contains("sleepy"));
    let turn = ask(&mut engine, Verb::StateUpdate, json!({"state":"offline"}));
    assert_eq!(body(&turn.notices[0])["device"]["lastOnlineTime"], "2026-11-21T07:39:32Z");
}

#[test]
fn a_removed_device_leaves_only_reports_that_the_cloud_does_not_have() {
    let mut engine = engine();
    update(&mut engine, json!({"twin":{"t2":{"actual":{"value":"5"}}}}));
    engine.commit();
    let turn = engine.sync(&Objects::default(), NOW);
    assert_eq!(kinds(&turn), ["membership/updated"]);
    assert_eq!(body(&turn.notices[0])["removed_devices"], json!([{"id":"default/s1","name":"s1"}]));
    engine.commit();
    assert_eq!(body(&ask(&mut engine, Verb::TwinGet, json!({})).notices[0])["code"], 404);
    let [ahead] = &engine.ahead(10, |_| false, NOW)[..] else { panic!() };
    engine.confirm(&ahead.row, ahead.version);
    let [change] = &engine.changes()[..] else { panic!() };
    assert!(change.wipe && change.device.is_none());
}

#[test]
fn a_device_of_the_same_name_but_another_uid_starts_empty() {
    let mut engine = engine();
    update(&mut engine, json!({"twin":{"t2":{"actual":{"value":"5"}}}}));
    engine.commit();
    let turn = engine.sync(&objects("u2", &[]), NOW);
    assert_eq!(kinds(&turn), ["membership/updated", "membership/updated"]);
    let [change] = &engine.changes()[..] else { panic!() };
    assert!(change.wipe && change.row && change.twins.is_empty());
    assert_eq!(engine.backlog(), 0);
}

#[test]
fn a_batch_that_cannot_be_written_never_happened() {
    let mut engine = engine();
    update(&mut engine, json!({"twin":{"t2":{"actual":{"value":"5"}}}}));
    engine.commit();
    let before = engine.device(&id("default/s1")).unwrap().clone();
    let turn = update(
        &mut engine,
        json!({"event_id":"f","twin":{"t2":{"actual":{"value":"6"}},"t3":{"actual":{"value":"7"}}}}),
    );
    ask(&mut engine, Verb::StateUpdate, json!({"state":"ok"}));
    engine.roll_back();
    assert_eq!(engine.device(&id("default/s1")).unwrap(), &before);
    assert_eq!(engine.backlog(), 1);
    let failure = body(&turn.on_failure.unwrap().notice("disk full", NOW));
    assert_eq!((&failure["code"], &failure["event_id"]), (&json!(500), &json!("f")));
    let turn = update(&mut engine, json!({"twin":{"t2":{"actual":{"value":"6"}}}}));
    assert_eq!(kinds(&turn), ["result", "document"]);
}

#[test]
fn while_an_older_version_is_confirmed_the_newer_stays_ahead() {
    let mut engine = engine();
    update(&mut engine, json!({"twin":{"a":{"actual":{"value":"1"}},"b":{"actual":{"value":"1"}}}}));
    engine.commit();
    let first = engine.ahead(10, |_| false, NOW).remove(0);
    update(&mut engine, json!({"twin":{"a":{"actual":{"value":"2"}}}}));
    engine.commit();
    engine.confirm(&first.row, first.version);
    let second = engine.ahead(10, |_| false, NOW).remove(0);
    let content: Value = serde_json::from_str(&second.content).unwrap();
    assert_eq!(content["twin"].as_object().unwrap().keys().collect::<Vec<_>>(), ["a"]);
    assert!(engine.ahead(10, |row| *row == second.row, NOW).is_empty());
}

#[test]
fn a_cloud_update_behind_the_local_version_is_answered_with_what_is_here() {
    let mut engine = engine();
    update(&mut engine, json!({"twin":{"s":{"expected":{"value":"1"}}}}));
    engine.commit();
    let all = engine.ahead(10, |_| false, NOW).remove(0);
    engine.confirm(&all.row, all.version);
    let behind = json!({"twin":{"s":{"expected":{"value":"9"},"expected_version":{"cloud":1,"edge":0}}}});
    assert!(ask(&mut engine, Verb::CloudUpdated, behind).notices.is_empty());
    assert_eq!(engine.backlog(), 1);
    let newer = json!({"twin":{"s":{"expected":{"value":"9"},"expected_version":{"cloud":1,"edge":1}}}});
    assert_eq!(kinds(&ask(&mut engine, Verb::CloudUpdated, newer)), ["document", "delta"]);
}

#[test]
fn properties_of_a_device_are_bounded() {
    let mut engine = engine();
    for round in 0..2 {
        let twins: serde_json::Map<_, _> =
            (0..600).map(|n| (format!("p{round}-{n}"), json!({"actual":{"value":"1"}}))).collect();
        let turn = update(&mut engine, json!({"twin":twins}));
        assert_eq!(turn.refused.is_some(), round == 1);
    }
}
