//! Any device, and what is no device.

use proptest::prelude::*;

use super::super::input::Document;
use super::*;

/// Whether an object has only what its definition has, of the right types.
#[track_caller]
pub(super) fn fits_its_definition(object: &Value) {
    let Some(kind) = object["kind"].as_str().filter(|kind| ["Device", "DeviceModel"].contains(kind)) else {
        return;
    };
    assert_eq!(object["apiVersion"], "devices.kubeedge.io/v1beta1");
    let mut definitions = proto::crds::all().unwrap().into_iter();
    let definition = definitions.find(|definition| definition.spec.names.kind == kind).unwrap();
    let version = definition.spec.versions.into_iter().find(|version| version.name == "v1beta1").unwrap();
    let schema = json!(version.schema.unwrap().open_api_v3_schema.unwrap());
    fits(&schema["properties"]["spec"], &object["spec"], "spec");
}

#[track_caller]
fn fits(schema: &Value, value: &Value, path: &str) {
    let is_fit = match schema["type"].as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        other => panic!("{other}"),
    };
    assert!(is_fit, "{path}: {value}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{path}: {value}");
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(name.as_str().unwrap()).is_some(), "{path} has no {name}");
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        fits(&schema["items"], item, &format!("{path}[{index}]"));
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let (known, others) = (&schema["properties"][key], &schema["additionalProperties"]);
        let at = format!("{path}.{key}");
        match (known.is_object(), others.is_object()) {
            (true, _) => fits(known, inner, &at),
            (false, true) => fits(others, inner, &at),
            _ => assert_eq!(schema["x-kubernetes-preserve-unknown-fields"], true, "{at} is unknown"),
        }
    }
}

const WORDS: [&str; 42] = [
    "spec",
    "status",
    "protocol",
    "modbus",
    "opcua",
    "bluetooth",
    "common",
    "customizedProtocol",
    "protocolName",
    "configData",
    "com",
    "tcp",
    "customizedValues",
    "propertyVisitors",
    "propertyName",
    "reportCycle",
    "collectCycle",
    "dataConverter",
    "orderOfOperations",
    "operationType",
    "operationValue",
    "dataWrite",
    "scale",
    "data",
    "dataProperties",
    "dataTopic",
    "nodeSelector",
    "nodeSelectorTerms",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "deviceModelRef",
    "name",
    "twins",
    "desired",
    "value",
    "metadata",
    "properties",
    "type",
    "int",
    "minimum",
];

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["", "a", "In", "ReadOnly", "Multiply", "10"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(&WORDS[..]), inner), 0..6).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

/// A device that KubeEdge takes.
fn device() -> impl Strategy<Value = Value> {
    let visitor = |index: usize| {
        (0..4_usize, 0..2_i64, prop::option::of(-2.0..2.0_f64), any::<bool>()).prop_map(move |(way, cycle, scale, more)| {
            let mut visitor = json!({"propertyName": format!("p{index}"), "collectCycle": cycle * 1_000_000_000});
            match way {
                0 => visitor["modbus"] = json!({"register": "HoldingRegister", "offset": index, "limit": 1, "scale": scale}),
                1 => visitor["opcua"] = json!({"nodeID": "ns=1", "browseName": null}),
                2 => visitor["bluetooth"] = json!({"characteristicUUID": "f", "dataConverter": {"orderOfOperations": [
                    {"operationType": "Divide", "operationValue": scale}]}}),
                _ => visitor["customizedProtocol"] = json!({"protocolName": "x", "configData": {"list": [1], "n": scale}}),
            }
            if more {
                visitor["customizedValues"] = json!({"note": "text"});
            }
            visitor
        })
    };
    let visitors = (0..4_usize).prop_flat_map(move |count| (0..count).map(visitor).collect::<Vec<_>>());
    (visitors, prop::collection::btree_map(0..6_usize, "[a-z]{0,3}", 0..4), any::<bool>()).prop_map(|(visitors, twins, tcp)| {
        let twins: Vec<Value> = twins
            .into_iter()
            .map(|(index, value)| json!({"propertyName": format!("p{index}"), "desired": {"value": value}, "reported": {"value": "1"}}))
            .collect();
        let way = if tcp { json!({"tcp": {"ip": "a", "port": 1}}) } else { json!({"com": {"serialPort": "/dev/x"}}) };
        json!({"apiVersion": "devices.kubeedge.io/v1alpha2", "kind": "Device", "metadata": {"name": "d", "namespace": "n"},
            "spec": {"deviceModelRef": {"name": "m"}, "protocol": {"modbus": {"slaveID": 1}, "common": way},
                "propertyVisitors": visitors, "nodeSelector": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "", "operator": "In", "values": ["edge1"]}]}]}},
            "status": {"twins": twins}})
    })
}

fn converted(value: Value) -> (Vec<Piece>, Told) {
    let mut told = Told::default();
    let document = Document { origin: "x".to_owned(), text: value.to_string(), value };
    let pieces = pieces::convert(vec![document], &Choices::default(), &mut told);
    (pieces, told)
}

proptest! {
    #[test]
    fn any_tree_converts_into_what_its_definition_allows_or_is_named(
        kind in prop::sample::select(vec!["Device", "DeviceModel"]), spec in tree(), status in tree(), metadata in tree(),
    ) {
        let metadata = if metadata.is_object() { metadata } else { json!({"name": "d"}) };
        let object = json!({"apiVersion": "devices.kubeedge.io/v1alpha2", "kind": kind, "metadata": metadata, "spec": spec, "status": status});
        let (pieces, told) = converted(object);
        prop_assert_eq!(pieces.len(), 1);
        for piece in &pieces {
            fits_its_definition(&piece.value());
        }
        let text = render(&pieces, Form::Yaml).unwrap();
        let (again, _) = convert(&text, &Choices::default());
        prop_assert_eq!(again[0].value(), pieces[0].value(), "{}", text);
        let _ = told.text();
    }

    #[test]
    fn a_device_that_kubeedge_takes_loses_nothing(object in device()) {
        let (pieces, told) = converted(object.clone());
        prop_assert!(!told.is_wrong() && !told.text().contains("lost: "), "{}", told.text());
        let Piece::Device(device) = &pieces[0] else { panic!("it is a device") };
        let twins = object["status"]["twins"].as_array().unwrap();
        for visitor in object["spec"]["propertyVisitors"].as_array().unwrap() {
            let property = device.spec.properties.iter().find(|property| visitor["propertyName"] == *property.name).unwrap();
            prop_assert!(property.visitors.is_some());
            let reported = twins.iter().any(|twin| twin["propertyName"] == visitor["propertyName"]);
            prop_assert_eq!(property.report_to_cloud.is_some(), reported);
        }
        for twin in twins {
            let property = device.spec.properties.iter().find(|property| twin["propertyName"] == *property.name).unwrap();
            let wanted = property.desired.as_ref().map_or("", |desired| desired.value.as_str());
            prop_assert_eq!(&twin["desired"]["value"], wanted);
        }
        prop_assert_eq!(device.spec.node_name.as_deref(), Some("edge1"));
    }
}
