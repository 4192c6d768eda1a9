use super::*;

fn endpoint(kind: EndpointType) -> Endpoint {
    let properties = BTreeMap::from([("service_port".to_owned(), "8080".to_owned())]);
    Endpoint { rule_endpoint_type: kind, properties }
}

fn spec(source: &[(&str, &str)], target: &[(&str, &str)]) -> RuleSpec {
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    RuleSpec { source_resource: map(source), target_resource: map(target), ..RuleSpec::default() }
}

#[test]
fn the_four_ways_are_ways_and_the_others_are_not() {
    use EndpointType::{EventBus, Rest, ServiceBus};
    let all = spec(
        &[("path", "/a/{x}/"), ("topic", "t"), ("node_name", "n"), ("target_url", "http://x")],
        &[("resource", "http://h/x"), ("topic", "t"), ("path", "/api")],
    );
    for source in [Rest, EventBus, ServiceBus] {
        for target in [Rest, EventBus, ServiceBus] {
            let way = Way::of(&all, &endpoint(source), &endpoint(target));
            assert_eq!(way.is_ok(), (source == Rest) != (target == Rest), "{source:?} {target:?}");
        }
    }
    let error = Way::of(&all, &endpoint(EventBus), &endpoint(ServiceBus)).unwrap_err();
    assert_eq!(
        error,
        "the rule which is from source ruleEndpoint type eventbus to target ruleEndpoint type servicebus is not validate "
    );
}

#[test]
fn what_is_missing_is_said_in_kubeedges_words() {
    use EndpointType::{EventBus, Rest, ServiceBus};
    let error =
        |source, target, spec: &RuleSpec| Way::of(spec, &endpoint(source), &endpoint(target)).unwrap_err();
    assert_eq!(
        error(Rest, EventBus, &spec(&[], &[])),
        "\"path\" property missed in sourceResource when ruleEndpoint is \"rest\""
    );
    assert_eq!(
        error(EventBus, Rest, &spec(&[("topic", "t")], &[])),
        "\"node_name\" property missed in sourceResource when ruleEndpoint is \"eventbus\""
    );
    assert_eq!(
        error(Rest, ServiceBus, &spec(&[("path", "a")], &[])),
        "\"path\" property missed in targetResource when ruleEndpoint is \"servicebus\""
    );
    let none = Endpoint { rule_endpoint_type: ServiceBus, properties: BTreeMap::new() };
    assert_eq!(
        none.check().unwrap_err(),
        "\"service_port\" property missed in property when ruleEndpoint is \"servicebus\""
    );
    for port in ["0", "65536", "http", ""] {
        let properties = BTreeMap::from([("service_port".to_owned(), port.to_owned())]);
        assert!(Endpoint { properties, ..none.clone() }.check().unwrap_err().contains("1 to 65535"));
    }
}

#[test]
fn two_rules_for_the_same_messages_clash() {
    let rest = |path: &str| From::Rest { path: segments(path).unwrap() };
    assert_eq!(
        rest("/a/").clash(&rest("a"), "default", "old").unwrap(),
        "source properties exist in Rule default/old. Path: a"
    );
    assert!(rest("a").clash(&rest("a/b"), "default", "old").is_none());
}
