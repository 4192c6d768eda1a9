//! Certificates for people: asked for, granted or denied, and good for logging in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};
use support::{Cluster, KUBECTL_1_20, call_as, eventually, expect};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// A key, and the request (PEM in base64) for a certificate for it.
fn asked(name: &str, group: &str) -> (KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, group);
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    (key, STANDARD.encode(pem))
}

fn request(name: &str, pem: &str, change: Value) -> Value {
    let mut spec = json!({"request": pem, "signerName": SIGNER, "usages": ["client auth"]});
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": name}, "spec": spec,
    })
}

async fn condition(cluster: &Cluster, name: &str, column: &str) -> String {
    let shown = eventually(column, || async {
        let shown = cluster.must(&["get", "csr", name, "--no-headers"]).await;
        shown.trim_end().ends_with(column).then_some(shown)
    });
    shown.await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_request_gets_a_certificate_that_logs_its_owner_in() {
    let cluster = Cluster::start().await;
    for (kubectl, name) in [(support::KUBECTL, "ann"), (KUBECTL_1_20, "bob")] {
        let (key, pem) = asked(name, "devs");
        let seconds = json!({"expirationSeconds": 3600, "usages": ["client auth", "digital signature"]});
        let path = cluster.manifest("csr.json", &request(name, &pem, seconds).to_string());
        let said = cluster.run(kubectl, &["create", "-f", &path]).await;
        assert!(said.ok, "{said:?}");
        let shown = condition(&cluster, name, "Pending").await;
        let cells: Vec<_> = shown.split_whitespace().collect();
        assert_eq!((cells[0], cells[2], cells[3], cells[4]), (name, SIGNER, "kubernetes-admin", "60m"));
        let described = cluster.must(&["describe", "csr", name]).await;
        for wanted in
            [&format!("Common Name:    {name}"), "Organization:   devs", "Status:              Pending"]
        {
            assert!(described.contains(wanted), "{wanted} in {described}");
        }

        let said = cluster.run(kubectl, &["certificate", "approve", name]).await;
        let wanted = format!("certificatesigningrequest.certificates.k8s.io/{name} approved");
        assert_eq!((said.out.trim(), said.ok), (&*wanted, true), "{said:?}");
        condition(&cluster, name, "Approved,Issued").await;

        let csr = cluster.json(&["get", "csr", name]).await;
        assert_eq!(csr["spec"]["groups"], json!(["system:masters", "system:authenticated"]));
        let mut config = kube::Config::new(cluster.server.parse().unwrap());
        config.root_cert = Some(vec![cluster.ca().to_vec()]);
        let certificate = csr["status"]["certificate"].as_str().unwrap().to_owned();
        config.auth_info.client_certificate_data = Some(certificate);
        config.auth_info.client_key_data = Some(STANDARD.encode(key.serialize_pem()).into());
        let client = kube::Client::try_from(config).unwrap();
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let who = expect(support::call(&client, "POST", path, "application/json", review), 201).await;
        let who = &who["status"]["userInfo"];
        assert_eq!(who["username"], name);
        assert_eq!(who["groups"], json!(["devs", "system:authenticated"]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_in_several_groups_gets_them_all() {
    let cluster = Cluster::start().await;
    let file = |name: &str| cluster.dir.path().join(name).to_str().unwrap().to_owned();
    let [key, csr, signed] = ["ann.key", "ann.csr", "ann.crt"].map(file);
    let subject = "/O=devs/O=ops/OU=earth/OU=moon/CN=ann/O=night shift";
    let made = std::process::Command::new("openssl")
        .args([
            "req", "-new", "-newkey", "rsa:2048", "-nodes", "-utf8", "-subj", subject, "-keyout", &key,
            "-out", &csr,
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let pem = STANDARD.encode(std::fs::read(&csr).unwrap());
    expect(cluster.call("POST", REQUESTS, request("ann", &pem, json!({}))), 201).await;
    cluster.must(&["certificate", "approve", "ann"]).await;
    condition(&cluster, "ann", "Approved,Issued").await;
    let csr = cluster.json(&["get", "csr", "ann"]).await;
    let certificate = STANDARD.decode(csr["status"]["certificate"].as_str().unwrap()).unwrap();
    std::fs::write(&signed, certificate).unwrap();
    let read = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-subject", "-in", &signed])
        .output()
        .unwrap();
    let read = String::from_utf8(read.stdout).unwrap();
    assert_eq!(read.trim(), "subject=O = devs, O = ops, OU = earth, OU = moon, CN = ann, O = night shift");

    let credentials =
        ["config", "set-credentials", "ann", "--client-certificate", &signed, "--client-key", &key];
    cluster.must(&credentials).await;
    let who = cluster.must(&["--user", "ann", "auth", "whoami", "-o", "json"]).await;
    let who: Value = serde_json::from_str(&who).unwrap();
    let who = &who["status"]["userInfo"];
    let groups = json!(["devs", "ops", "night shift", "system:authenticated"]);
    assert_eq!((&who["username"], &who["groups"]), (&json!("ann"), &groups));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_request_gets_nothing_and_a_decision_is_final() {
    let cluster = Cluster::start().await;
    let (_, pem) = asked("eve", "devs");
    expect(cluster.call("POST", REQUESTS, request("eve", &pem, json!({}))), 201).await;
    cluster.must(&["certificate", "deny", "eve"]).await;
    condition(&cluster, "eve", "Denied").await;
    let path = format!("{REQUESTS}/eve");
    let denied = cluster.call("GET", &path, Value::Null).await.1;
    assert!(denied["status"]["certificate"].is_null());
    assert!(denied["status"]["conditions"][0]["lastTransitionTime"].is_string(), "{denied}");

    let refused = cluster.kubectl(&["certificate", "approve", "eve"]).await;
    assert!(!refused.ok && refused.err.contains("is already Denied"), "{refused:?}");
    let mut both = denied.clone();
    let yes = json!({"type": "Approved", "status": "True", "reason": "Me"});
    both["status"]["conditions"].as_array_mut().unwrap().push(yes);
    let refused = expect(cluster.call("PUT", &format!("{path}/approval"), both), 422).await;
    assert!(refused["message"].as_str().unwrap().contains("mutually exclusive"), "{refused}");
    let mut none = denied.clone();
    none["status"]["conditions"] = json!([]);
    let refused = expect(cluster.call("PUT", &format!("{path}/approval"), none), 422).await;
    let why = "updates may not remove a condition of type \"Denied\"";
    assert!(refused["message"].as_str().unwrap().contains(why), "{refused}");

    // Neither through the request itself nor through its status.
    let (_, pem) = asked("joe", "devs");
    let joe = expect(cluster.call("POST", REQUESTS, request("joe", &pem, json!({}))), 201).await;
    let yes = json!([{"type": "Approved", "status": "True", "reason": "Me"}]);
    let mut approved = joe.clone();
    approved["status"]["conditions"] = yes;
    approved["spec"]["usages"] = json!(["server auth"]);
    let path = format!("{REQUESTS}/joe");
    let same = expect(cluster.call("PUT", &path, approved.clone()), 200).await;
    assert_eq!((&same["spec"], &same["status"]), (&joe["spec"], &joe["status"]));
    let refused = expect(cluster.call("PUT", &format!("{path}/status"), approved), 422).await;
    assert!(refused["message"].as_str().unwrap().contains("updates may not add a condition"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_asked_for_is_refused_and_what_cannot_be_signed_says_why() {
    let cluster = Cluster::start().await;
    let (_, pem) = asked("ann", "devs");
    let (_, masters) = asked("ann", "system:masters");
    let garbage = STANDARD.encode("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for (body, code, why) in [
        (request("x", &garbage, json!({})), 422, "PEM block type must be CERTIFICATE REQUEST"),
        (request("x", &pem, json!({"usages": []})), 422, "spec.usages: Required value"),
        (
            request("x", &pem, json!({"usages": ["flying"]})),
            422,
            "spec.usages[0]: Unsupported value: \"flying\"",
        ),
        (request("x", &pem, json!({"signerName": "mine"})), 422, "must be a fully qualified domain and path"),
        (
            request("x", &pem, json!({"expirationSeconds": 60})),
            422,
            "may not specify a duration less than 600",
        ),
        (request("x", &masters, json!({})), 403, "signer with system:masters group is not allowed"),
    ] {
        let refused = expect(cluster.call("POST", REQUESTS, body), code).await;
        assert!(refused["message"].as_str().unwrap().contains(why), "{why} in {refused}");
    }

    let usages = json!({"usages": ["client auth", "server auth"]});
    expect(cluster.call("POST", REQUESTS, request("server", &pem, usages)), 201).await;
    cluster.must(&["certificate", "approve", "server"]).await;
    condition(&cluster, "server", "Approved,Failed").await;
    let failed = cluster.json(&["get", "csr", "server"]).await;
    let why = failed["status"]["conditions"][1]["message"].as_str().unwrap();
    assert_eq!(why, "invalid usage for client certificate: server auth");

    // Somebody else's signer is left to it.
    let other = json!({"signerName": "example.com/own"});
    expect(cluster.call("POST", REQUESTS, request("other", &pem, other)), 201).await;
    cluster.must(&["certificate", "approve", "other"]).await;
    condition(&cluster, "other", "Approved").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_write_requests_may_not_therefore_approve_them() {
    let cluster = Cluster::start().await;
    let rules = json!([{
        "apiGroups": ["certificates.k8s.io"], "verbs": ["*"],
        "resources": ["certificatesigningrequests", "certificatesigningrequests/approval"],
    }]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "clerk"}, "rules": rules});
    expect(cluster.call("POST", &format!("{rbac}/clusterroles"), role), 201).await;
    cluster.must(&["create", "clusterrolebinding", "clerk", "--clusterrole=clerk", "--user=carl"]).await;
    let (_, pem) = asked("ann", "devs");
    let carl = ("carl", &["staff"][..]);
    let made =
        call_as(&cluster.client, carl, "POST", REQUESTS, request("ann", &pem, json!({"username": "root"})));
    let made = expect(made, 201).await;
    assert_eq!((&made["spec"]["username"], &made["spec"]["groups"][0]), (&json!("carl"), &json!("staff")));

    let mut yes = made.clone();
    yes["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "Me"}]);
    let path = format!("{REQUESTS}/ann/approval");
    let refused = expect(call_as(&cluster.client, carl, "PUT", &path, yes.clone()), 403).await;
    let why = format!("user not permitted to approve requests with signerName \"{SIGNER}\"");
    assert!(refused["message"].as_str().unwrap().contains(&why), "{refused}");

    let rule = json!({"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": ["approve"], "resourceNames": ["kubernetes.io/*"]});
    let role = json!([{"op": "add", "path": "/rules/-", "value": rule}]);
    expect(cluster.patch("json-patch+json", &format!("{rbac}/clusterroles/clerk"), role), 200).await;
    expect(call_as(&cluster.client, carl, "PUT", &path, yes), 200).await;
    condition(&cluster, "ann", "Approved,Issued").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_were_answered_long_ago_are_swept_away_and_others_stay() {
    let cluster = Cluster::start().await;
    for (name, when) in [("old", "2020-01-01T00:00:00Z"), ("new", "")] {
        let (_, pem) = asked(name, "devs");
        let made = expect(cluster.call("POST", REQUESTS, request(name, &pem, json!({}))), 201).await;
        let mut denied = made;
        denied["status"]["conditions"] = json!([{"type": "Denied", "status": "True", "reason": "No"}]);
        if !when.is_empty() {
            denied["status"]["conditions"][0]["lastUpdateTime"] = json!(when);
        }
        expect(cluster.call("PUT", &format!("{REQUESTS}/{name}/approval"), denied), 200).await;
    }
    let (_, pem) = asked("pending", "devs");
    expect(cluster.call("POST", REQUESTS, request("pending", &pem, json!({}))), 201).await;
    // The first look is at the start.
    let cluster = cluster.restart().await;
    let left = eventually("only the old one is gone", || async {
        let list = cluster.call("GET", REQUESTS, Value::Null).await.1;
        let names: Vec<_> =
            list["items"].as_array()?.iter().map(|one| one["metadata"]["name"].clone()).collect();
        (names == ["new", "pending"]).then_some(names)
    });
    left.await;
}
