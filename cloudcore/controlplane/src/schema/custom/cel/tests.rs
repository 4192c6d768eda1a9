use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Schema, check_structural};
use crate::schema::{Errors, Path};

/// A schema whose `spec` has rules.
fn schema(rules: Value) -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-validations": rules, "properties": {
        "min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string"}, "ratio": {"type": "number"},
        "odd-name": {"type": "string"}, "namespace": {"type": "string"}, "when": {"type": "string", "format": "date-time"},
        "wait": {"type": "string", "format": "duration"}, "port": {"x-kubernetes-int-or-string": true},
        "tags": {"type": "array", "items": {"type": "string"}},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"], "items": {
            "type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "size": {"type": "string",
                "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "size is immutable"}]}}}}
    }}}})
}

fn wrong_in(rules: Value, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut errors = Errors::default();
    Schema::compile(&schema(rules)).validate(object, old, &mut errors);
    errors.into_vec().iter().map(ToString::to_string).collect()
}

fn wrong(rule: &str, spec: Value) -> Vec<String> {
    wrong_in(json!([{"rule": rule}]), &json!({"spec": spec}), None)
}

fn refused(rules: Value) -> Vec<String> {
    let mut errors = Errors::default();
    check_structural(&schema(rules), &Path::Root.field("s"), &mut errors);
    errors.into_vec().iter().map(ToString::to_string).collect()
}

#[test]
fn a_broken_rule_is_said_with_its_message_its_reason_and_its_field() {
    let rule = "self.min <= self.max";
    assert!(wrong(rule, json!({"min": 1, "max": 2})).is_empty());
    assert_eq!(
        wrong(rule, json!({"min": 3, "max": 2})),
        [r#"spec: Invalid value: "object": failed rule: self.min <= self.max"#]
    );
    let spoken = json!([{"rule": rule, "message": "m", "messageExpression": "'min is ' + string(self.min)", "fieldPath": ".min", "reason": "FieldValueForbidden"}]);
    assert_eq!(
        wrong_in(spoken, &json!({"spec": {"min": 3, "max": 2}}), None),
        ["spec.min: Forbidden: min is 3"]
    );
    let silent = json!([{"rule": rule, "message": "m", "messageExpression": "''"}]);
    assert_eq!(
        wrong_in(silent, &json!({"spec": {"min": 3, "max": 2}}), None),
        [r#"spec: Invalid value: "object": m"#]
    );
    assert_eq!(
        wrong(rule, json!({"min": 3})),
        [r#"spec: Invalid value: "object": no such key: max evaluating rule: self.min <= self.max"#]
    );
}

#[test]
fn values_are_seen_as_the_schema_has_them() {
    for good in [
        "has(self.max) == false && !has(self.name)",
        "self.odd__dash__name == 'x' && self.__namespace__ == 'n'",
        "self.ratio == 2.0 && type(self.ratio) == double",
        "self.when < timestamp('2030-01-01T00:00:00Z') && self.wait == duration('90s')",
        "self.port == 'http' || self.port == 80",
        "self.tags.all(t, t.startsWith('a')) && self.tags.size() == 2 && 'ab' in self.tags",
        "self.tags.exists_one(t, t == 'a') && self.tags.map(t, t + '!').join(',') == 'a!,ab!'",
        "'k' in self.map && self.map['k'] == 7 && self.map.all(k, self.map[k] > 1)",
        "self.?max.orValue(5) == 5",
    ] {
        let spec = json!({"min": 1, "odd-name": "x", "namespace": "n", "ratio": 2, "when": "2026-01-01T00:00:00Z", "wait": "1m30s",
            "port": "http", "tags": ["a", "ab"], "map": {"k": 7}});
        assert_eq!(refused(json!([{"rule": good}])), Vec::<String>::new(), "{good}");
        assert_eq!(wrong(good, spec), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn the_functions_of_kubernetes_are_there() {
    for good in [
        "self.name.matches('^a[0-9]+$') && self.name.find('[0-9]+') == '12' && 'a1b2'.findAll('[0-9]') == ['1', '2']",
        "[1, 2, 3].isSorted() && [1, 2].sum() == 3 && [3, 1].min() == 1 && [3, 1].max() == 3 && [1, 2, 1].lastIndexOf(1) == 2",
        "sets.contains([1, 2], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && sets.intersects([1], [1, 2])",
        "isURL('https://a.b:80/c') && url('https://a.b:81/c').getHost() == 'a.b:81' && url('https://a.b/c').getEscapedPath() == '/c'",
        "isQuantity('1Gi') && quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('500m').compareTo(quantity('0.5')) == 0 && quantity('2').asInteger() == 2",
        "isIP('::1') && ip.isCanonical('::1') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.0.0/8').masked().prefixLength() == 8",
        "url('https://a.b:81/c?d=e').getScheme() == 'https' && url('https://a.b:81/').getHostname() == 'a.b' && url('https://a.b:81/').getPort() == '81' && url('https://a/?d=e').getQuery() == {'d': ['e']}",
        "quantity('1.5').asApproximateFloat() == 1.5 && quantity('1').add(quantity('2')).sub(quantity('1')).sign() == 1 && quantity('2').isInteger() && quantity('1').isLessThan(quantity('2'))",
        "isIP('::1') && ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3') && !isCIDR('10.0.0.0/33')",
        "'%s-%d'.format(['a', 1]) == 'a-1' && 'A b'.lowerAscii().split(' ') == ['a', 'b'] && ' x '.trim() == 'x'",
    ] {
        assert_eq!(refused(json!([{"rule": good}])), Vec::<String>::new(), "{good}");
        assert_eq!(wrong(good, json!({"name": "a12"})), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn a_rule_about_a_change_compares_and_what_did_not_change_is_left_alone() {
    let immutable = json!([{"rule": "self.name == oldSelf.name", "message": "name is immutable"}]);
    let (a, b) = (json!({"spec": {"name": "a"}}), json!({"spec": {"name": "b"}}));
    assert!(wrong_in(immutable.clone(), &a, None).is_empty());
    assert_eq!(wrong_in(immutable, &b, Some(&a)), [r#"spec: Invalid value: "object": name is immutable"#]);
    // Items of a list that is a map are found again by their key.
    let old = json!({"spec": {"parts": [{"id": "x", "size": "1"}, {"id": "y", "size": "2"}]}});
    let new = json!({"spec": {"parts": [{"id": "y", "size": "3"}, {"id": "z", "size": "9"}]}});
    assert_eq!(
        wrong_in(json!([]), &new, Some(&old)),
        [r#"spec.parts[0].size: Invalid value: "string": size is immutable"#]
    );
    let optional = json!([{"rule": "!oldSelf.hasValue() || self.name == oldSelf.value().name", "optionalOldSelf": true}]);
    assert!(wrong_in(optional.clone(), &a, None).is_empty());
    assert_eq!(wrong_in(optional, &b, Some(&a)).len(), 1);
    // An object that a new rule would refuse can still be changed elsewhere.
    let old = json!({"spec": {"min": 3, "max": 2}, "other": 1});
    let new = json!({"spec": {"min": 3, "max": 2}, "other": 2});
    assert!(wrong_in(json!([{"rule": "self.min < self.max"}]), &new, Some(&old)).is_empty());
}

#[test]
fn rules_are_not_evaluated_on_what_has_the_wrong_shape() {
    let found = wrong("self.min > 0", json!({"min": "x"}));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[1].starts_with("<nil>: Invalid value: null: some validation rules were not checked"),
        "{found:?}"
    );
}

#[test]
fn a_rule_that_cannot_work_is_refused_with_its_definition() {
    let text = |rules: Value| refused(rules).join("\n");
    assert!(refused(json!([{"rule": "self.min < self.max", "message": "m"}])).is_empty());
    assert!(
        refused(json!([{"rule": "self.tags.all(t, t != self.name) && has(self.map) && self.map.x > 0"}]))
            .is_empty()
    );
    let syntax = text(json!([{"rule": "self.min <"}]));
    assert!(syntax.starts_with("s.properties[spec].x-kubernetes-validations[0].rule: Invalid value: \"self.min <\": compilation failed: "), "{syntax}");
    assert!(text(json!([{"rule": "self.nope > 1"}])).contains("undefined field 'nope'"));
    assert!(text(json!([{"rule": "other > 1"}])).contains("undeclared reference to 'other'"));
    assert!(text(json!([{"rule": ""}])).contains("rule: Required value: rule is not specified"));
    assert!(
        text(json!([{"rule": "true", "fieldPath": ".nope"}])).contains("does not refer to a valid field")
    );
    assert!(text(json!([{"rule": "true", "reason": "Because"}])).contains("Unsupported value: \"Because\""));
    assert!(text(json!([{"rule": "true", "optionalOldSelf": true}])).contains("may not be set to true"));
}

#[test]
fn a_rule_that_would_take_too_long_is_not_begun() {
    let many: Vec<String> = (0..3000).map(|n| format!("tag{n}")).collect();
    let nested = "self.tags.all(a, self.tags.all(b, self.tags.exists(c, c != a + b)))";
    assert!(wrong(nested, json!({"tags": many}))[0].contains("running out of cost budget"));
    assert!(wrong(nested, json!({"tags": &many[..20]})).is_empty());
    let bomb = "self.name.replace('', self.name).replace('', self.name).replace('', self.name).size() > 0";
    assert!(wrong(bomb, json!({"name": "x".repeat(2000)}))[0].contains("running out of cost budget"));
    let foreign = "self.tags.all(t, 'x'.matches(t))";
    assert!(wrong(foreign, json!({"tags": many}))[0].contains("running out of cost budget"));
}

proptest! {
    #[test]
    fn no_rule_makes_the_server_panic(rule in "(self|oldSelf|\\.|\\[|\\]|\\(|\\)|has|all|x|,|min|tags|\\+|==|'|1| |size|!|&&|\\?|:){0,25}", number in any::<i64>()) {
        let spec = json!({"spec": {"min": number, "max": 1, "tags": ["a"]}});
        let _ = wrong_in(json!([{"rule": rule, "messageExpression": rule}]), &spec, Some(&json!({"spec": {"min": 1}})));
        let _ = refused(json!([{"rule": rule}]));
    }
}

#[test]
fn a_function_that_does_not_exist_is_refused_with_its_field_when_it_is_defined() {
    for (rule, name) in [
        ("self.name.isPretty()", "isPretty"),
        ("pretty(self.name)", "pretty"),
        ("self.tags.all(tag, tag.shiny())", "shiny"),
        ("sets.overlap(self.tags, ['a'])", "sets.overlap"),
    ] {
        let found = refused(json!([{"rule": "true"}, {"rule": rule}]));
        let [wrong] = &found[..] else { panic!("{rule}: {found:?}") };
        assert!(
            wrong.starts_with("s.properties[spec].x-kubernetes-validations[1].rule: Invalid value: "),
            "{wrong}"
        );
        let expected = format!("compilation failed: undeclared reference to '{name}' (in container '')");
        assert!(wrong.contains(&expected), "{wrong}");
    }
}
