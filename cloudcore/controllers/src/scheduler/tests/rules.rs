use super::super::volumes::{Claim, Class, Volume};
use super::*;

fn one() -> Snapshot {
    let mut snapshot = Snapshot::default();
    node(&mut snapshot, "a", json!({"metadata": {"labels": {"zone": "x", "disk": "ssd"}}}));
    snapshot
}

#[test]
fn a_cordoned_node_is_for_those_who_tolerate_it() {
    let mut snapshot = Snapshot::default();
    node(&mut snapshot, "a", json!({"spec": {"unschedulable": true}}));
    assert_eq!(verdict(&snapshot, &pending("p", json!({}))), Some(Reason::Unschedulable.alone(true)));
    let key = "node.kubernetes.io/unschedulable";
    let tolerant =
        json!({"spec": {"tolerations": [{"key": key, "operator": "Exists", "effect": "NoSchedule"}]}});
    assert_eq!(verdict(&snapshot, &pending("p", tolerant)), None);
}

#[test]
fn taints_keep_away_those_who_do_not_tolerate_them() {
    for (effect, expected) in [
        ("NoSchedule", Some(Reason::Taint.alone(true))),
        ("NoExecute", Some(Reason::Taint.alone(true))),
        ("PreferNoSchedule", None),
    ] {
        let mut snapshot = Snapshot::default();
        let taint = json!({"key": "node.kubernetes.io/unreachable", "effect": effect});
        node(&mut snapshot, "a", json!({"spec": {"taints": [taint]}}));
        assert_eq!(verdict(&snapshot, &pending("p", json!({}))), expected, "{effect}");
        let tolerant = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        assert_eq!(verdict(&snapshot, &pending("p", tolerant)), None, "{effect}");
    }
}

#[test]
fn selectors_and_required_affinity_must_match_both() {
    let affinity = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let wants =
        |zone: &str| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]});
    let named =
        |name: &str| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
    let no = Some(Reason::NodeAffinity.alone(true));
    for (spec, expected) in [
        (json!({"nodeSelector": {"disk": "ssd"}}), None),
        (json!({"nodeSelector": {"disk": "hdd"}}), no.clone()),
        (json!({"affinity": affinity(json!([wants("x")]))}), None),
        (json!({"affinity": affinity(json!([wants("y")]))}), no.clone()),
        (json!({"affinity": affinity(json!([wants("y"), wants("x")]))}), None),
        (json!({"affinity": affinity(json!([wants("x")])), "nodeSelector": {"disk": "hdd"}}), no.clone()),
        (json!({"affinity": affinity(json!([{}]))}), no),
        (json!({"affinity": affinity(json!([named("a")]))}), None),
        (json!({"affinity": affinity(json!([named("b")]))}), Some(Reason::NotNamed.alone(true))),
    ] {
        assert_eq!(verdict(&one(), &pending("p", json!({"spec": spec.clone()}))), expected, "{spec}");
    }
    let mut both = named("a");
    both["matchFields"].as_array_mut().unwrap().push(named("b")["matchFields"][0].clone());
    let torn = pending("p", json!({"spec": {"affinity": affinity(json!([both]))}}));
    assert_eq!(fault(&one(), &torn), Some(Fault::AffinityConflict));
}

#[test]
fn ports_of_the_node_are_given_once() {
    let ports = |port: Value| json!({"spec": {"containers": [{"name": "c", "ports": [port]}]}});
    let mut snapshot = one();
    placed(
        &mut snapshot,
        "q",
        "a",
        ports(json!({"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1"})),
    );
    let taken = Some(Reason::Ports.alone(false));
    for (port, expected) in [
        (json!({"containerPort": 80}), None),
        (json!({"containerPort": 80, "hostPort": 80}), taken.clone()),
        (json!({"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1"}), taken),
        (json!({"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.2"}), None),
        (json!({"containerPort": 80, "hostPort": 80, "protocol": "UDP"}), None),
        (json!({"containerPort": 80, "hostPort": 81}), None),
    ] {
        assert_eq!(verdict(&snapshot, &pending("p", ports(port.clone()))), expected, "{port}");
    }
}

#[test]
fn what_is_requested_must_be_free_and_more_than_the_node_has_is_hopeless() {
    let mut snapshot = Snapshot::default();
    let has =
        json!({"cpu": "4", "memory": "8Gi", "ephemeral-storage": "1Gi", "pods": "2", "example.com/gpu": "2"});
    node(&mut snapshot, "a", json!({"status": {"allocatable": has}}));
    placed(&mut snapshot, "q", "a", requests(json!({"cpu": "3", "memory": "5Gi", "example.com/gpu": "1"})));
    for (wanted, expected) in [
        (json!({"cpu": "1", "memory": "3Gi", "example.com/gpu": "1"}), None),
        (json!({"cpu": "1001m"}), insufficient("cpu", false)),
        (json!({"cpu": "4001m"}), insufficient("cpu", true)),
        (json!({"memory": "4Gi"}), insufficient("memory", false)),
        (json!({"ephemeral-storage": "2Gi"}), insufficient("ephemeral-storage", true)),
        (json!({"example.com/gpu": "2"}), insufficient("example.com/gpu", false)),
        (json!({"example.com/tpu": "1"}), insufficient("example.com/tpu", true)),
        (json!({"example.com/tpu": "0"}), None),
    ] {
        assert_eq!(verdict(&snapshot, &pending("p", requests(wanted.clone()))), expected, "{wanted}");
    }
    placed(&mut snapshot, "r", "a", json!({}));
    let both = verdict(&snapshot, &pending("p", requests(json!({"cpu": "2", "memory": "4Gi"})))).unwrap();
    let said: Vec<_> = both.reasons.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["Too many pods", "Insufficient cpu", "Insufficient memory"]);
}

#[test]
fn room_that_is_kept_for_a_more_important_pod_is_not_given_away() {
    let mut snapshot = one();
    let high = |name: &str, priority: i32| {
        let mut spec = requests(json!({"cpu": "3"}));
        spec["spec"]["priority"] = json!(priority);
        pending(name, spec)
    };
    let kept = high("kept", 10);
    snapshot.nominate(&Arc::new(kept.footprint.clone()), Some("a"));
    assert_eq!(verdict(&snapshot, &kept), None, "it is its own room");
    assert_eq!(verdict(&snapshot, &high("lower", 9)), insufficient("cpu", false));
    assert_eq!(verdict(&snapshot, &high("higher", 11)), None);
    snapshot.forget_nomination("kept");
    assert_eq!(verdict(&snapshot, &high("lower", 9)), None);
}

fn related(kind: &str, app: &str, key: &str) -> Value {
    let term = json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}});
    json!({"spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}})
}

fn app(name: &str) -> Value {
    json!({"metadata": {"labels": {"app": name}}})
}

#[test]
fn pods_go_where_those_are_that_they_want_and_not_where_those_are_that_they_shun() {
    let mut snapshot = one();
    node(&mut snapshot, "b", json!({"metadata": {"labels": {"zone": "x"}}}));
    node(&mut snapshot, "c", json!({"metadata": {"labels": {"zone": "y"}}}));
    placed(&mut snapshot, "q", "a", app("db"));
    let allowed = |pod: Value| -> Vec<&str> {
        let pod = pending("p", pod);
        let question = super::super::filter::Question::new(&snapshot, &pod).unwrap();
        let fits = |name: &&str| {
            let node = snapshot.node(name).unwrap();
            let facts = node.facts.as_ref().unwrap();
            question.filter(super::super::filter::Candidate { name, node, facts }).is_ok()
        };
        ["a", "b", "c"].into_iter().filter(fits).collect()
    };
    assert_eq!(allowed(related("podAffinity", "db", "zone")), ["a", "b"]);
    assert_eq!(allowed(related("podAffinity", "db", "kubernetes.io/hostname")), ["a"]);
    assert_eq!(allowed(related("podAffinity", "db", "rack")), [""; 0]);
    assert_eq!(allowed(related("podAntiAffinity", "db", "zone")), ["c"]);
    assert_eq!(allowed(related("podAntiAffinity", "db", "rack")), ["a", "b", "c"]);
    assert_eq!(allowed(related("podAffinity", "none", "zone")), [""; 0]);
    let mut first = related("podAffinity", "new", "zone");
    merge(&mut first, app("new"));
    assert_eq!(allowed(first), ["a", "b", "c"], "the first of its kind may go anywhere");
}

#[test]
fn pods_that_shun_others_are_left_alone_and_who_goes_frees_the_place() {
    let mut snapshot = one();
    placed(&mut snapshot, "q", "a", related("podAntiAffinity", "web", "kubernetes.io/hostname"));
    let web = pending("p", app("web"));
    assert_eq!(verdict(&snapshot, &web), Some(Reason::ExistingAntiAffinity.alone(false)));
    assert_eq!(verdict(&snapshot, &pending("p", app("db"))), None);
    snapshot.remove("q");
    assert_eq!(verdict(&snapshot, &web), None);
}

fn spread(constraint: Value) -> Value {
    let mut one = json!({
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    });
    merge(&mut one, constraint);
    let mut pod = app("web");
    merge(&mut pod, json!({"spec": {"topologySpreadConstraints": [one]}}));
    pod
}

#[test]
fn pods_spread_over_places_within_the_allowed_skew() {
    let mut snapshot = one();
    node(&mut snapshot, "b", json!({"metadata": {"labels": {"zone": "y"}}}));
    node(&mut snapshot, "c", json!({}));
    placed(&mut snapshot, "q", "a", app("web"));
    placed(&mut snapshot, "going", "b", {
        let mut going = app("web");
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        going
    });
    let pod = pending("p", spread(json!({})));
    assert_eq!(choose(&snapshot, &pod).as_deref(), Ok("b"));
    snapshot.set_node("b", None);
    let mut taint = json!({"metadata": {"labels": {"zone": "y"}}});
    taint["spec"] = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
    node(&mut snapshot, "b", taint);
    let reasons = |pod: &Pending| {
        let diagnosis = choose(&snapshot, pod).unwrap_err();
        ["a", "b", "c"].map(|name| diagnosis.nodes[name].clone())
    };
    assert_eq!(
        reasons(&pod),
        [Reason::Spread.alone(false), Reason::Taint.alone(true), Reason::SpreadLabel.alone(true)],
        "a place that the pod cannot go to counts, if only taints keep it away"
    );
    let honest = pending("p", spread(json!({"nodeTaintsPolicy": "Honor"})));
    assert_eq!(choose(&snapshot, &honest).as_deref(), Ok("a"));
    let mut limited = spread(json!({}));
    limited["spec"]["nodeSelector"] = json!({"zone": "x"});
    assert_eq!(choose(&snapshot, &pending("p", limited.clone())).as_deref(), Ok("a"));
    limited["spec"]["topologySpreadConstraints"][0]["nodeAffinityPolicy"] = json!("Ignore");
    assert!(choose(&snapshot, &pending("p", limited)).is_err());
    let many = pending("p", spread(json!({"nodeTaintsPolicy": "Honor", "minDomains": 2})));
    assert!(choose(&snapshot, &many).is_err(), "with too few places an empty one is assumed");
    assert_eq!(choose(&snapshot, &pending("p", spread(json!({"maxSkew": 2})))).as_deref(), Ok("a"));
    let mut keyed = spread(json!({"matchLabelKeys": ["hash"]}));
    keyed["metadata"]["labels"]["hash"] = json!("2");
    assert_eq!(
        choose(&snapshot, &pending("p", keyed)).as_deref(),
        Ok("a"),
        "the other revision does not count"
    );
}

#[test]
fn claims_must_be_there_and_volumes_within_reach() {
    let pod = pending(
        "p",
        json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}}),
    );
    let mut snapshot = one();
    assert_eq!(fault(&snapshot, &pod), Some(Fault::ClaimMissing("c".to_owned())));
    let claim = |volume: Option<&str>, class: &str| {
        let spec = json!({
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": class, "volumeName": volume,
        });
        let done = volume.map(|_| json!({"pv.kubernetes.io/bind-completed": "yes"}));
        let meta = json!({"namespace": "n", "name": "c", "uid": "c", "annotations": done});
        Claim::of(&serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap())
    };
    let key = ("n".to_owned(), "c".to_owned());
    snapshot.volumes.claims.insert(key.clone(), claim(None, "now"));
    assert_eq!(fault(&snapshot, &pod), Some(Fault::ClaimUnbound));
    snapshot.volumes.claims.insert(key.clone(), Claim { going: true, ..claim(None, "now") });
    assert_eq!(fault(&snapshot, &pod), Some(Fault::ClaimGoing("c".to_owned())));

    let lost = Claim { lost: true, ..claim(Some("v"), "now") };
    snapshot.volumes.claims.insert(key.clone(), lost);
    let gone = Fault::ClaimLost { claim: "c".to_owned(), volume: "v".to_owned() };
    assert_eq!(fault(&snapshot, &pod), Some(gone));

    let named = Claim { bound: false, ..claim(Some("v"), "late") };
    snapshot.volumes.claims.insert(key.clone(), named);
    snapshot.volumes.classes.insert("late".to_owned(), Class { waits: true, provisioned: false });
    assert_eq!(
        fault(&snapshot, &pod),
        Some(Fault::ClaimUnbound),
        "who names a volume does not wait for a pod"
    );

    snapshot.volumes.claims.insert(key.clone(), claim(Some("v"), "now"));
    assert_eq!(verdict(&snapshot, &pod), Some(Reason::VolumeGone.alone(true)));
    let volume = |zone: &str| {
        let term = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]});
        let affinity = json!({"required": {"nodeSelectorTerms": [term]}});
        let spec = json!({
            "nodeAffinity": affinity, "storageClassName": "late", "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "2Gi"},
        });
        let volume = json!({"metadata": {"name": "v"}, "spec": spec, "status": {"phase": "Available"}});
        Volume::of(&serde_json::from_value(volume).unwrap())
    };
    for (zone, expected) in [("y", Some(Reason::VolumeAffinity.alone(true))), ("x", None)] {
        snapshot.volumes.volumes.insert("v".to_owned(), volume(zone));
        assert_eq!(verdict(&snapshot, &pod), expected, "{zone}");
    }

    snapshot.volumes.claims.insert(key, claim(None, "late"));
    assert_eq!(verdict(&snapshot, &pod), None);
    snapshot.volumes.volumes.clear();
    assert_eq!(verdict(&snapshot, &pod), Some(Reason::NoVolume.alone(true)));
    snapshot.volumes.classes.insert("late".to_owned(), Class { waits: true, provisioned: true });
    assert_eq!(verdict(&snapshot, &pod), None);
}
