use proptest::prelude::*;

use super::*;

fn rules(text: &str) -> Acl {
    parse::parse(text).unwrap()
}

fn who<'a>(user: &'a str, client: &'a str) -> Who<'a> {
    Who { user: Some(user), client }
}

#[test]
fn a_file_of_mosquitto_means_what_it_means_there() {
    let acl = rules(
        "# everybody\n\
         topic read weather/#\n\
         topic anonymous\n\
         \n\
         user ada\n\
         topic engines/+/speed\n\
         topic read engines/#\n\
         topic write orders\n\
         topic deny engines/secret/#\n\
         user a name with spaces\n\
         topic  readwrite  a topic with spaces\n\
         pattern write devices/%c/up\n\
         pattern read users/%u/%c/#\n\
         pattern deny users/+/+/hidden\n",
    );
    let nobody = Who { user: None, client: "c1" };
    let (ada, spaces) = (who("ada", "c1"), who("a name with spaces", "c2"));
    for (who, deed, topic, allowed) in [
        (nobody, Deed::Read, "weather/oslo", true),
        (nobody, Deed::Write, "weather/oslo", false),
        (nobody, Deed::Write, "anonymous", true),
        (ada, Deed::Read, "weather/oslo", false),
        (ada, Deed::Write, "engines/1/speed", true),
        (ada, Deed::Read, "engines/1/heat", true),
        (ada, Deed::Write, "engines/1/heat", false),
        (ada, Deed::Read, "orders", false),
        (ada, Deed::Read, "engines/secret/speed", false),
        (ada, Deed::Write, "engines/secret/speed", false),
        (spaces, Deed::Write, "a topic with spaces", true),
        (spaces, Deed::Write, "devices/c2/up", true),
        (spaces, Deed::Write, "devices/c1/up", false),
        (nobody, Deed::Write, "devices/c1/up", true),
        (nobody, Deed::Read, "users//c1/x", false),
        (ada, Deed::Read, "users/ada/c1/x", true),
        (ada, Deed::Read, "users/ada/c1/hidden", false),
        (ada, Deed::Read, "users/eve/c1/x", false),
        (who("nobody knows", "c1"), Deed::Read, "engines/1/heat", false),
    ] {
        assert_eq!(acl.allows(who, deed, topic), allowed, "{who:?} {deed:?} {topic}");
    }
    for (who, filter, allowed) in [
        (ada, "engines/#", true),
        (ada, "#", true),
        (ada, "orders", false),
        (ada, "users/+/c1/y", true),
        (ada, "users/eve/#", false),
        (nobody, "weather/+", true),
        (nobody, "engines/#", false),
    ] {
        assert_eq!(acl.may_subscribe(who, &Filter::new(filter).unwrap()), allowed, "{who:?} {filter}");
    }
    assert!(!Acl::default().allows(ada, Deed::Read, "x"), "an empty file allows nothing");
}

#[test]
fn a_name_reaches_no_further_than_its_place() {
    let acl = rules("pattern readwrite d/%c/#\npattern u/%u/%c");
    for client in ["#", "+", "a/b", "", "a/#"] {
        for topic in ["d/a/x", "d/a/b/x", "d//x", "d/#/x", "d/+/x"] {
            assert!(!acl.allows(Who { user: None, client }, Deed::Write, topic), "{client} {topic}");
        }
    }
    assert!(!acl.allows(who("+", "c"), Deed::Read, "u/x/c"));
    assert!(acl.allows(who("%c", "x"), Deed::Read, "u/%c/x"));
    assert!(!acl.allows(who("%c", "x"), Deed::Read, "u/x/x"), "what a name says is no pattern");
    assert!(acl.allows(who("u", "%u"), Deed::Read, "u/u/%u"));
}

#[test]
fn a_line_that_is_not_understood_is_named_with_what_to_write() {
    for (text, line, said) in [
        ("topic", 1, "without a topic"),
        ("\n# x\ntopic read", 3, "without a topic"),
        ("topic lesen a", 1, "\"lesen\" is none of read, write, readwrite, deny"),
        ("user\n", 1, "user NAME"),
        ("user ada\ntopic a/#/b", 2, "no topic filter"),
        ("pattern read a+", 1, "no topic filter"),
        ("users ada", 1, "\"users\" is none of user, topic, pattern"),
    ] {
        let (at, what) = parse::parse(text).unwrap_err();
        assert_eq!(at, line, "{text:?}");
        assert!(what.contains(said), "{text:?}: {what}");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("acl");
    assert!(watch(&file).unwrap_err().to_string().contains("mqttAclFile"));
    std::fs::write(&file, "user ada\nfoo").unwrap();
    let error = watch(&file).unwrap_err().to_string();
    assert!(error.contains("acl:2: \"foo\""), "{error}");
}

fn words() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("user"),
            Just("topic"),
            Just("pattern"),
            Just("read"),
            Just("deny"),
            Just("a/+/b"),
            Just("#"),
            Just("%u"),
            Just("%c/x"),
            Just("\n"),
            Just("\t"),
            Just("  "),
            Just("é"),
        ],
        0..30,
    )
    .prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn no_text_makes_the_reading_panic_or_allows_what_no_line_allows(
        text in prop_oneof![words(), "\\PC{0,80}"], user in "[a-z+#/%u]{0,6}", client in "[a-z+#/%c]{0,6}", topic in "[a-c/$%]{1,8}",
    ) {
        if let Ok(acl) = parse::parse(&text) {
            for user in [None, Some(user.as_str())] {
                let who = Who { user, client: &client };
                let read = acl.allows(who, Deed::Read, &topic);
                let _ = acl.allows(who, Deed::Write, &topic);
                let filter = Filter::new(&topic).unwrap();
                // What may be read may be subscribed to.
                prop_assert!(!read || acl.may_subscribe(who, &filter));
                prop_assert!(!read || text.contains("topic") || text.contains("pattern"));
            }
        }
    }
}
