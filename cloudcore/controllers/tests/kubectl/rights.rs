//! Tokens of accounts, and what one may with them.

use serde_json::Value;

use super::Running;
use crate::support::cluster::call;

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_what_is_bound_to_its_account() {
    let running = Running::start().await;
    let token = running.must("create token default").await.trim().to_owned();
    let get = async |token: Option<&str>| {
        call(&running.cluster.stranger(token), "GET", PODS, "application/json", Value::Null).await
    };
    let (code, status) = get(Some(&token)).await;
    assert_eq!(
        (code, status["message"].as_str().unwrap()),
        (
            403,
            "pods is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
        )
    );
    running.must("create rolebinding look --clusterrole=view --serviceaccount=default:default").await;
    assert_eq!(get(Some(&token)).await.0, 200);
    assert_eq!(running.must(&format!("auth can-i list pods --token={token}")).await, "yes\n");
    let (code, status) = get(Some("nonsense")).await;
    assert_eq!((code, &status["message"]), (401, &"Unauthorized".into()));
    let (code, status) = get(None).await;
    assert_eq!(
        (code, status["message"].as_str().unwrap()),
        (
            403,
            "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_listed_as_the_roles_name_them() {
    let running = Running::start().await;
    let list = running.must("auth can-i --list --as=bob").await;
    // system:discovery and system:public-info-viewer, and nothing of the server's own beside them.
    for (path, times) in [("[/healthz]", 2), ("[/api/*]", 1), ("[/version]", 2)] {
        assert_eq!(list.matches(path).count(), times, "{path} in {list}");
    }
    let who = running.must("auth whoami -o json").await;
    let who: Value = serde_json::from_str(&who).unwrap();
    assert_eq!(who["status"]["userInfo"]["username"], "kubernetes-admin");
    let question = r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectRulesReview","spec":{"namespace":"default"}}"#;
    let file = running.cluster.manifest("review.json", question);
    // Nobody writes metadata into a question.
    assert!(running.must(&format!("create -f {file} -o yaml")).await.contains("incomplete: false"));
}
