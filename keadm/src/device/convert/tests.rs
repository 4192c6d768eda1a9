mod any;

use self::any::fits_its_definition;
use super::input::Document;
use super::*;

fn documents(text: &str) -> Vec<Document> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.yaml");
    std::fs::write(&path, text).unwrap();
    let mut documents = input::read(&[path]).unwrap();
    for document in &mut documents {
        document.origin = document.origin.rsplit('/').next().unwrap().to_owned();
    }
    documents
}

fn convert(text: &str, choices: &Choices) -> (Vec<Piece>, Told) {
    let mut told = Told::default();
    let pieces = pieces::convert(documents(text), choices, &mut told);
    (pieces, told)
}

/// What is said about one device with these fields of its spec.
fn said(spec: &str, choices: &Choices) -> (Value, String) {
    let (pieces, told) = convert(
        &format!(
            "apiVersion: devices.kubeedge.io/v1alpha2\nkind: Device\nmetadata: {{name: d}}\nspec: {spec}"
        ),
        choices,
    );
    (pieces.first().map(Piece::value).unwrap_or_default(), told.text())
}

fn golden(given: &str, expected: &str, words: &str) {
    let (pieces, told) = convert(given, &Choices::default());
    for piece in &pieces {
        fits_its_definition(&piece.value());
    }
    let written = render(&pieces, Form::Yaml).unwrap();
    assert!(written == expected, "it is now:\n{written}");
    let told = told.text();
    assert!(told == words, "it is now:\n{told}");
    // What was converted is of today, and nothing becomes of it any more.
    let (again, told) = convert(&written, &Choices::default());
    assert_eq!((render(&again, Form::Yaml).unwrap(), told.text()), (written, String::new()));
    assert!(again.iter().all(|piece| matches!(piece, Piece::Kept { .. })));
    let json: Value = serde_json::from_str(&render(&pieces, Form::Json).unwrap()).unwrap();
    assert_eq!(json["items"].as_array().map(Vec::len), Some(pieces.len()));
}

#[test]
fn a_plants_manifest_is_of_today_and_the_rest_of_it_as_it_was() {
    let (expected, words) = (include_str!("samples/plant.v1beta1.yaml"), include_str!("samples/plant.told"));
    golden(include_str!("samples/plant.yaml"), expected, words);
}

#[test]
fn every_protocol_becomes_a_name_and_flat_data() {
    let (expected, words) =
        (include_str!("samples/protocols.v1beta1.yaml"), include_str!("samples/protocols.told"));
    golden(include_str!("samples/protocols.yaml"), expected, words);
}

#[test]
fn a_node_is_read_from_a_selector_that_names_just_one() {
    let choices = |nodes: &[&str]| Choices {
        nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
        cycles: None,
    };
    let one = |inner: &str| format!("{{nodeSelector: {{nodeSelectorTerms: [{inner}]}}}}");
    let zone = one("{matchExpressions: [{key: zone, operator: In, values: [east]}]}");
    for (spec, nodes, node, words) in [
        (
            one("{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [e1]}]}"),
            vec![],
            "e1",
            "",
        ),
        (one("{matchExpressions: [{key: '', operator: In, values: [e1]}]}"), vec!["e2"], "e1", ""),
        (one("{matchExpressions: [{key: '', operator: In, values: [e1]}]}"), vec!["d=e2"], "e2", ""),
        (one("{matchFields: [{key: metadata.name, operator: In, values: [e1]}]}"), vec![], "e1", ""),
        (
            zone.clone(),
            vec![],
            "",
            "took the first value, \"east\"\n       next:  say which node has it: --node=default/d=east",
        ),
        (zone.clone(), vec!["e2"], "e2", ""),
        (zone, vec!["default/d=e2", "e3"], "e2", ""),
        (
            one("{matchExpressions: [{key: '', operator: In, values: [a, b]}]}"),
            vec![],
            "",
            "does not name one node",
        ),
        (
            one("{matchExpressions: [{key: '', operator: NotIn, values: [a]}]}"),
            vec![],
            "",
            "does not name one node",
        ),
        (one("{}, {}"), vec![], "", "KubeEdge sent such a device nowhere"),
        (
            one("{matchExpressions: [{key: '', operator: In, values: [Edge_1]}]}"),
            vec![],
            "Edge_1",
            "cannot name a node",
        ),
        (one("{matchExpressions: 5}"), vec![], "", "is no selector of nodes"),
        ("{}".to_owned(), vec![], "", "note: Device default/d: it is on no node, as before"),
        (one(""), vec!["e4"], "e4", ""),
    ] {
        let (device, told) = said(&spec, &choices(&nodes));
        assert_eq!(device["spec"]["nodeName"].as_str().unwrap_or_default(), node, "{spec}: {told}");
        assert!(told.contains(words) && told.is_empty() == words.is_empty(), "{spec}: {told}");
    }
}

#[test]
fn cycles_come_out_in_milliseconds_or_are_asked_for() {
    let (ns, ms) = (Some(Unit::Ns), Some(Unit::Ms));
    for (cycle, unit, millis, words) in [
        ("0", None, None, ""),
        ("5000", None, Some(5000), "5000 is taken for milliseconds: 5000 ms"),
        ("999999", None, Some(999_999), "milliseconds"),
        ("1000000", None, None, "may be nanoseconds (1 ms) or milliseconds (16 min)"),
        ("99999999", None, None, "--cycles=ns or --cycles=ms"),
        ("100000000", None, Some(100), "100000000 is taken for nanoseconds: 100 ms"),
        ("10000000000", None, Some(10_000), "nanoseconds"),
        ("3600000", ms, Some(3_600_000), ""),
        ("5000000", ns, Some(5), ""),
        ("5", ns, Some(1), ""),
        ("-1", ms, None, "is negative"),
        ("1.5", None, None, "is not an integer"),
        ("soon", None, None, "is not an integer"),
    ] {
        let spec = format!("{{propertyVisitors: [{{propertyName: t, collectCycle: {cycle}}}]}}");
        let (device, told) = said(&spec, &Choices { nodes: Vec::new(), cycles: unit });
        assert_eq!(device["spec"]["properties"][0]["collectCycle"].as_i64(), millis, "{cycle}: {told}");
        let about: Vec<&str> = told.lines().filter(|line| line.contains("collectCycle")).collect();
        assert!(told.contains(words) && about.is_empty() == words.is_empty(), "{cycle}: {told}");
    }
}

#[test]
fn what_cannot_be_carried_over_is_named_with_what_to_do() {
    for (level, spec, words) in [
        (
            "lost",
            "{data: {dataTopic: a/b, dataProperties: [{propertyName: t, metadata: {type: x}}, {propertyName: u}]}}",
            "spec.data.dataProperties is lost|give t, u of the written Device a pushMethod: {mqtt: {address: tcp://127.0.0.1:1883, topic: a/b}}",
        ),
        ("note", "{data: {dataTopic: a/b}}", "spec.data.dataTopic is left out"),
        ("lost", "{nodeName: edge1}", "spec.nodeName is lost|v1alpha2 has no such field"),
        (
            "lost",
            "{propertyVisitors: [{propertyName: t, modbuss: {}}]}",
            "spec.propertyVisitors[0].modbuss is lost",
        ),
        (
            "wrong",
            "{protocol: {common: {tcp: {ip: a}}}}",
            "spec.protocol names no protocol|customizedProtocol.protocolName",
        ),
        (
            "wrong",
            "{protocol: {modbus: {}, opcua: {}}}",
            "spec.protocol names several protocols: modbus, opcua",
        ),
        (
            "wrong",
            "{protocol: {modbus: {}, common: {tcp: {}, com: {}}}}",
            "spec.protocol.common has both com and tcp",
        ),
        (
            "wrong",
            "{protocol: {modbus: {slaveID: 1}, common: {customizedValues: {slaveid: 2}}}}",
            "comes to stand beside another slaveID",
        ),
        ("wrong", "{protocol: modbus}", "spec.protocol is not an object|it is \"modbus\""),
        ("wrong", "{propertyVisitors: [{modbus: {}}]}", "spec.propertyVisitors[0].propertyName is missing"),
        (
            "wrong",
            "{propertyVisitors: [{propertyName: t}, {propertyName: t}]}",
            "property names must be unique.",
        ),
        ("wrong", "{propertyVisitors: {}}", "spec.propertyVisitors is not a list"),
        ("wrong", "{propertyVisitors: [t]}", "spec.propertyVisitors[0] is not an object"),
        (
            "lost",
            "{propertyVisitors: [{propertyName: a b}]}",
            "makes no sense: \"a b\" is no name that an edge takes",
        ),
        ("wrong", "{deviceModelRef: {}}", "spec.deviceModelRef.name is missing"),
    ] {
        let (_, told) = said(spec, &Choices::default());
        for words in words.split('|') {
            assert!(
                told.contains(words) && told.contains(&format!("{level}: Device default/d: ")),
                "{spec}: {told}"
            );
        }
    }
}

#[test]
fn devices_are_held_against_models_of_either_version() {
    let old = "{apiVersion: devices.kubeedge.io/v1alpha2, kind: DeviceModel, metadata: {name: m}, spec: {properties: [
        {name: t, type: {int: {accessMode: ReadOnly, defaultValue: 1}}}, {name: s, type: {int: {accessMode: ReadWrite, maximum: 9}}}]}}";
    let new = "{apiVersion: devices.kubeedge.io/v1beta1, kind: DeviceModel, metadata: {name: m, namespace: default}, spec: {properties: [
        {name: t, type: INT, accessMode: ReadOnly}, {name: s, type: INT, maximum: '9'}]}}";
    for (model, lost) in [(old, true), (new, false)] {
        let text = format!(
            "{model}\n---\n{{apiVersion: devices.kubeedge.io/v1alpha2, kind: Device, metadata: {{name: d}},
            spec: {{deviceModelRef: {{name: m}}}}, status: {{twins: [
            {{propertyName: t, desired: {{value: '1'}}}}, {{propertyName: s, desired: {{value: '10'}}}}, {{propertyName: u}}]}}}}"
        );
        let (_, told) = convert(&text, &Choices::default());
        let told = told.text();
        for words in [
            "wrong: Device default/d: spec.properties[1].desired.value (of v1beta1) makes no sense: \"10\" does not fit property s",
            "lost: Device default/d: spec.properties[0].desired.value (of v1beta1) makes no sense: property t is ReadOnly",
            "DeviceModel m has no property \"u\"",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
        let words = "lost: DeviceModel default/m: spec.properties[0].type.int.defaultValue is lost";
        assert_eq!(told.contains(words), lost, "{told}");
    }
}

#[test]
fn what_is_no_device_of_v1alpha2_is_passed_on_left_out_or_refused() {
    for (text, pieces, words) in [
        ("{apiVersion: apps/v1, kind: Deployment}", 1, ""),
        (
            "{kind: DeviceList, apiVersion: devices.kubeedge.io/v1alpha2, items: [{metadata: {name: a}}]}",
            1,
            "Device default/a",
        ),
        ("{kind: List, apiVersion: v1, items: [{kind: Pod, apiVersion: v1}]}", 1, ""),
        (
            "{apiVersion: devices.kubeedge.io/v1alpha2, kind: DeviceStatus, metadata: {name: a}}",
            0,
            "is left out: cloudcore makes it",
        ),
        (
            "{apiVersion: devices.kubeedge.io/v1alpha1, kind: Device, metadata: {name: a}}",
            0,
            "is \"Device\" of devices.kubeedge.io/v1alpha1",
        ),
        ("{apiVersion: devices.kubeedge.io/v1alpha2, kind: Widget}", 0, "is \"Widget\""),
        ("{apiVersion: devices.kubeedge.io/v1alpha2, kind: Device}", 1, "metadata.name is missing"),
        (
            "{apiVersion: devices.kubeedge.io/v1beta1, kind: Device, metadata: {name: a}, spec: {nodeSelector: {}}}",
            1,
            "has no spec.nodeSelector",
        ),
        ("[1]", 0, "in.yaml, document from line 1: it is no object"),
    ] {
        let (found, told) = convert(text, &Choices::default());
        let told = told.text();
        assert_eq!(found.len(), pieces, "{text}: {told}");
        assert!(told.contains(words) && told.is_empty() == words.is_empty(), "{text}: {told}");
    }
}

#[test]
fn what_a_cluster_only_shows_as_v1alpha2_is_left_out() {
    let applied = "annotations: {kubectl.kubernetes.io/last-applied-configuration: '{\"apiVersion\":\"devices.kubeedge.io/v1beta1\"}'}";
    for (kind, metadata, rest, pieces) in [
        ("Device", "uid: u", "spec: {deviceModelRef: {name: m}, protocol: {}}", 0),
        ("Device", "uid: u", "spec: {deviceModelRef: {name: m}, nodeSelector: {nodeSelectorTerms: []}}", 1),
        ("Device", "uid: u", "status: {twins: [{propertyName: t}]}", 1),
        ("Device", "labels: {a: b}", "spec: {deviceModelRef: {name: m}}", 1),
        ("Device", &format!("uid: u, {applied}"), "spec: {nodeSelector: {nodeSelectorTerms: []}}", 0),
        ("DeviceModel", "uid: u", "spec: {properties: [{name: t, type: INT}]}", 0),
        ("DeviceModel", "uid: u", "spec: {properties: [{name: t, type: {int: {}}}]}", 1),
    ] {
        let text = format!(
            "{{apiVersion: devices.kubeedge.io/v1alpha2, kind: {kind}, metadata: {{name: a, {metadata}}}, {rest}}}"
        );
        let (found, told) = convert(&text, &Choices::default());
        let told = told.text();
        assert_eq!(found.len(), pieces, "{text}: {told}");
        assert_eq!(told.contains("is left out: it is of v1beta1 already"), pieces == 0, "{text}: {told}");
    }
}

#[test]
fn what_is_lost_ends_it_unless_that_is_accepted_and_what_is_wrong_in_any_case() {
    let of = |spec: &str| {
        convert(
            &format!("{{apiVersion: devices.kubeedge.io/v1alpha2, kind: Device, metadata: {{name: d}}, spec: {spec}}}"),
            &Choices::default(),
        )
        .1
    };
    assert!(of("{}").finish(false).is_ok());
    let lossy = "{nodeName: edge1}";
    assert!(of(lossy).finish(true).is_ok());
    let failure = of(lossy).finish(false).unwrap_err();
    assert!(failure.exit() == Exit::Preflight && failure.to_string().contains("--accept-loss"), "{failure}");
    assert_eq!(of("{protocol: 1}").finish(true).unwrap_err().exit(), Exit::Preflight);
}
