//! Images from a registry that asks for a password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::Registry;
use e2e::registry::{PASSWORD, USER};
use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Value, json};

use super::engine::{Kind, on_every_runtime};
use super::node::{Node, SLEEP, container, pod, shell, waits_for};

on_every_runtime!(
    a_pull_secret_opens_the_registry_and_a_wrong_one_is_told_in_its_words,
    pull_policies_decide_who_asks_the_registry,
);

/// What `kubectl create secret docker-registry` makes.
fn login(registry: &Registry, password: &str) -> Value {
    let auth = STANDARD.encode(format!("{USER}:{password}"));
    let entry = json!({ "username": USER, "password": password, "auth": auth });
    let config = json!({ "auths": { registry.address(): entry } });
    json!({ ".dockerconfigjson": STANDARD.encode(config.to_string()) })
}

fn from(image: &str, policy: &str) -> Value {
    let mut c = shell("c", SLEEP);
    c["image"] = image.into();
    c["imagePullPolicy"] = policy.into();
    json!({ "containers": [c], "imagePullSecrets": [{ "name": "login" }] })
}

fn words(status: &PodStatus) -> String {
    let state = container(status).state.unwrap_or_default();
    state.waiting.and_then(|waiting| waiting.message).unwrap_or_default()
}

/// Both runtimes' ways to say that they were not let in.
fn is_refusal(words: &str) -> bool {
    ["401 Unauthorized", "no basic auth credentials", "unauthorized: authentication required"]
        .iter()
        .any(|way| words.contains(way))
}

async fn a_pull_secret_opens_the_registry_and_a_wrong_one_is_told_in_its_words(runtime: Kind) {
    let node = Node::start(runtime).await;
    let registry = Registry::start(&node.settings.root.with_file_name("registry")).await.expect("a registry");
    let image = registry.image("team/app:1");
    node.engine.add_image(&image, &["/bin/sh"]);
    node.engine.push_image(&image, USER, PASSWORD);
    assert!(!node.engine.images().contains(&image), "it is in the registry only");

    let pod = pod("app", from(&image, "IfNotPresent"));
    node.run_pod(&pod).await;
    let status = node.until("app", "it is not let in", |s| waits_for(s) == "ErrImagePull").await;
    assert!(is_refusal(&words(&status)), "{}", words(&status));
    let missing =
        "Unable to retrieve some image pull secrets (login); attempting to pull the image may not succeed.";
    let events = node.events().await;
    let said =
        |reason: &str, text: &str| events.iter().any(|event| event.0 == reason && event.1.contains(text));
    assert!(said("FailedToRetrieveImagePullSecret", missing), "{events:#?}");
    assert!(said("Failed", &format!("Failed to pull image {image:?}: ")), "{events:#?}");
    assert!(said("Failed", "Error: ErrImagePull"), "{events:#?}");

    node.secret_at("login", 1, login(&registry, "guessed")).await;
    node.until("app", "a wrong password does not help", |s| {
        waits_for(s) == "ImagePullBackOff" && is_refusal(&words(s))
    })
    .await;
    node.secret_at("login", 2, login(&registry, PASSWORD)).await;
    let status = node.ready("app").await;
    assert_eq!(container(&status).image, image);
    let events = node.events().await;
    let pulled = format!("Successfully pulled image {image:?}");
    assert!(events.iter().any(|event| event.0 == "Pulled" && event.1.starts_with(&pulled)), "{events:#?}");
    node.delete_pod(&pod, 1).await;
    node.leaves_nothing().await;
}

async fn pull_policies_decide_who_asks_the_registry(runtime: Kind) {
    let node = Node::start(runtime).await;
    let mut registry =
        Registry::start(&node.settings.root.with_file_name("registry")).await.expect("a registry");
    let image = registry.image("team/app:1");
    node.engine.add_image(&image, &["/bin/sh"]);
    node.engine.push_image(&image, USER, PASSWORD);
    node.secret("login", login(&registry, PASSWORD)).await;

    let never = pod("never", from(&image, "Never"));
    node.run_pod(&never).await;
    let status = node.until("never", "nobody pulls it", |s| waits_for(s) == "ErrImageNeverPull").await;
    let expected = format!("Container image {image:?} is not present with pull policy of Never");
    assert_eq!(words(&status), expected);

    let always = pod("always", from(&image, "Always"));
    node.run_pod(&always).await;
    node.ready("always").await;
    // Somebody has brought the image.
    node.ready("never").await;

    registry.kill();
    let present = pod("present", from(&image, "IfNotPresent"));
    node.run_pod(&present).await;
    node.ready("present").await;
    let again = pod("again", from(&image, "Always"));
    node.run_pod(&again).await;
    let status = node.until("again", "the registry is asked", |s| waits_for(s) == "ImagePullBackOff").await;
    assert!(words(&status).contains("connection refused"), "{}", words(&status));
    registry.restart().await.expect("the registry is back");
    node.ready("again").await;
    for pod in [never, always, present, again] {
        node.delete_pod(&pod, 0).await;
    }
    node.leaves_nothing().await;
}
