//! Tokens of service accounts: asked for, bound, read, gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use support::{Cluster, call, eventually, expect};

const NS: &str = "/api/v1/namespaces/default";
const TOKENS: &str = "/api/v1/namespaces/default/serviceaccounts/default/token";
const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn claims(token: &str) -> Value {
    let body = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}

async fn whoami(cluster: &Cluster, token: &str) -> (u16, Value) {
    call(&cluster.stranger(Some(token)), "POST", WHO, "application/json", json!({})).await
}

fn token(answer: &Value) -> String {
    answer["status"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_what_it_was_asked_for() {
    let cluster = Cluster::start().await;
    let short = expect(cluster.call("POST", TOKENS, json!({"spec": {"expirationSeconds": 599}})), 422).await;
    assert!(
        short["message"].as_str().unwrap().ends_with(
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"
        ),
        "{short}"
    );
    let long =
        expect(cluster.call("POST", TOKENS, json!({"spec": {"expirationSeconds": 4_294_967_297_i64}})), 422)
            .await;
    assert!(
        long["message"].as_str().unwrap().ends_with("may not specify a duration larger than 2^32 seconds")
    );
    let ours = expect(cluster.call("POST", TOKENS, json!({"spec": {}})), 201).await;
    assert_eq!(ours["spec"]["audiences"], json!(["https://kubernetes.default.svc.cluster.local"]));
    let said = claims(&token(&ours));
    assert_eq!(said["sub"], "system:serviceaccount:default:default");
    assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 3600);
    assert_eq!(said["kubernetes.io"]["serviceaccount"]["name"], "default");
    let me = expect(whoami(&cluster, &token(&ours)), 201).await;
    let credential = &me["status"]["userInfo"]["extra"]["authentication.kubernetes.io/credential-id"][0];
    assert_eq!(credential, &json!(format!("JTI={}", said["jti"].as_str().unwrap())));

    let vault = expect(cluster.call("POST", TOKENS, json!({"spec": {"audiences": ["vault"]}})), 201).await;
    expect(whoami(&cluster, &token(&vault)), 401).await;
    let review = |spec: Value| {
        cluster.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", json!({"spec": spec}))
    };
    let reviews = [
        review(json!({"token": token(&vault), "audiences": ["vault", "x"]})).await,
        review(json!({"token": token(&vault)})).await,
    ];
    assert_eq!(reviews[0].1["status"]["authenticated"], true);
    assert_eq!(reviews[0].1["status"]["audiences"], json!(["vault"]));
    assert_eq!(reviews[0].1["status"]["user"]["username"], "system:serviceaccount:default:default");
    assert_ne!(reviews[1].1["status"]["authenticated"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_dies_with_what_it_is_bound_to() {
    let cluster = Cluster::start().await;
    let node = expect(cluster.call("POST", "/api/v1/nodes", json!({"metadata": {"name": "n1"}})), 201).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i:1"}]}});
    let pod = expect(cluster.call("POST", &format!("{NS}/pods"), pod), 201).await;
    let uid = &pod["metadata"]["uid"];
    let bound = |uid: &Value| json!({"spec": {"expirationSeconds": 3607, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}}});
    let wrong = expect(cluster.call("POST", TOKENS, bound(&json!("other"))), 409).await;
    assert!(
        wrong["message"]
            .as_str()
            .unwrap()
            .contains("the UID in the bound object reference (other) does not match the UID in record.")
    );
    let none = json!({"spec": {"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "none"}}});
    let missing = expect(cluster.call("POST", TOKENS, none), 404).await;
    assert_eq!(missing["message"], "secrets \"none\" not found");

    let issued = expect(cluster.call("POST", TOKENS, bound(uid)), 201).await;
    let said = claims(&token(&issued));
    assert_eq!(said["kubernetes.io"]["pod"], json!({"name": "p", "uid": uid}));
    assert_eq!(said["kubernetes.io"]["node"], json!({"name": "n1", "uid": node["metadata"]["uid"]}));
    // Good for a year, but said to end in an hour.
    let (begin, end) = (said["iat"].as_i64().unwrap(), said["exp"].as_i64().unwrap());
    assert_eq!(end - begin, 365 * 24 * 3600);
    assert_eq!(said["kubernetes.io"]["warnafter"].as_i64().unwrap() - begin, 3607);
    assert_eq!(issued["spec"]["expirationSeconds"], 3607);
    let me = expect(whoami(&cluster, &token(&issued)), 201).await;
    assert_eq!(me["status"]["userInfo"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    assert_eq!(me["status"]["userInfo"]["extra"]["authentication.kubernetes.io/node-name"], json!(["n1"]));

    let now = json!({"gracePeriodSeconds": 0});
    expect(cluster.call("DELETE", &format!("{NS}/pods/p"), now), 200).await;
    expect(whoami(&cluster, &token(&issued)), 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_good_for_an_account_of_the_same_name_that_came_later() {
    let cluster = Cluster::start().await;
    let account = json!({"metadata": {"name": "robot"}});
    let accounts = format!("{NS}/serviceaccounts");
    expect(cluster.call("POST", &accounts, account.clone()), 201).await;
    let issued =
        expect(cluster.call("POST", &format!("{accounts}/robot/token"), json!({"spec": {}})), 201).await;
    expect(whoami(&cluster, &token(&issued)), 201).await;
    expect(cluster.call("DELETE", &format!("{accounts}/robot"), Value::Null), 200).await;
    expect(whoami(&cluster, &token(&issued)), 401).await;
    expect(cluster.call("POST", &accounts, account), 201).await;
    expect(whoami(&cluster, &token(&issued)), 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_creates_tokens_of_any_duration_and_binding() {
    let cluster = Cluster::start().await;
    cluster.must(&["create", "secret", "generic", "s"]).await;
    let bound = cluster
        .must(&[
            "create",
            "token",
            "default",
            "--duration=90000h",
            "--bound-object-kind=Secret",
            "--bound-object-name=s",
        ])
        .await;
    let bound = bound.trim();
    let said = claims(bound);
    assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 90_000 * 3600);
    assert_eq!(said["kubernetes.io"]["secret"]["name"], "s");
    expect(whoami(&cluster, bound), 201).await;
    cluster.must(&["delete", "secret", "s"]).await;
    expect(whoami(&cluster, bound), 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_are_published_and_may_be_changed_without_locking_anybody_out() {
    let cluster = Cluster::start().await;
    let issued = expect(cluster.call("POST", TOKENS, json!({"spec": {}})), 201).await;
    let old = token(&issued);
    let document = expect(cluster.call("GET", "/.well-known/openid-configuration", Value::Null), 200).await;
    assert_eq!(document["issuer"], claims(&old)["iss"]);
    let account = cluster.stranger(Some(&old));
    let keys = |client: kube::Client| async move {
        call(&client, "GET", "/openid/v1/jwks", "application/json", Value::Null).await
    };
    assert_eq!(expect(keys(account), 200).await["keys"].as_array().unwrap().len(), 1);
    expect(keys(cluster.stranger(None)), 403).await;

    let dir = cluster.stop().await;
    let pki = dir.path().join("data/pki");
    std::fs::rename(pki.join("sa.key"), pki.join("sa-2025.key")).unwrap();
    let cluster = Cluster::start_in(dir).await;
    expect(whoami(&cluster, &old), 201).await;
    let new = token(&expect(cluster.call("POST", TOKENS, json!({"spec": {}})), 201).await);
    expect(whoami(&cluster, &new), 201).await;
    assert_ne!(old.split('.').next(), new.split('.').next());
    let both = expect(keys(cluster.client.clone()), 200).await;
    assert_eq!(both["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_holds_a_token_for_as_long_as_secret_and_account_live() {
    let cluster = Cluster::start().await;
    cluster.must(&["create", "serviceaccount", "robot"]).await;
    let secrets = format!("{NS}/secrets");
    let secret = |name: &str| {
        json!({
            "metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": "robot"}},
            "type": "kubernetes.io/service-account-token",
        })
    };
    let filled = |name: &'static str| {
        let (client, path) = (cluster.client.clone(), format!("{secrets}/{name}"));
        async move {
            let secret = call(&client, "GET", &path, "application/json", Value::Null).await.1;
            let of = |key: &str| Some(STANDARD.decode(secret["data"][key].as_str()?).unwrap());
            let text = |key: &str| Some(String::from_utf8(of(key)?).unwrap());
            Some((text("token")?, text("ca.crt")?, text("namespace")?))
        }
    };
    for name in ["one", "two"] {
        expect(cluster.call("POST", &secrets, secret(name)), 201).await;
    }
    let (token, ca, namespace) = eventually("the secret is filled", || filled("one")).await;
    assert_eq!(namespace, "default");
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"));
    let me = expect(whoami(&cluster, &token), 201).await;
    assert_eq!(me["status"]["userInfo"]["username"], "system:serviceaccount:default:robot");
    let described = cluster.must(&["describe", "secret", "one"]).await;
    assert!(described.contains("token:") && described.contains(&token), "{described}");

    expect(cluster.call("DELETE", &format!("{secrets}/one"), Value::Null), 200).await;
    expect(whoami(&cluster, &token), 401).await;
    eventually("the other secret is filled", || filled("two")).await;
    cluster.must(&["delete", "serviceaccount", "robot"]).await;
    eventually("the secret goes with its account", || async {
        (cluster.call("GET", &format!("{secrets}/two"), Value::Null).await.0 == 404).then_some(())
    })
    .await;
}
