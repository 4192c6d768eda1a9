//! What users do about a pod that does not start, or that they want to look into: with kubectl, on both runtimes.

use std::time::Duration;

use anyhow::Result;
use e2e::registry::{PASSWORD, USER};
use e2e::{Engine, Registry, Runtime, Stack, StackOptions, eventually, image, pod};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);

async fn says(stack: &Stack, args: &[&str], words: &[&str]) -> Result<()> {
    eventually(&format!("{args:?} says {words:?}"), LIMIT, || async {
        let text = stack.kubectl(args).map_err(|error| error.to_string())?;
        if words.iter().all(|word| text.contains(word)) { Ok(()) } else { Err(text) }
    })
    .await
}

fn login(stack: &Stack, registry: &Registry, password: &str) -> Result<()> {
    stack.kubectl(&["delete", "secret", "login", "--ignore-not-found"])?;
    let server = format!("--docker-server={}", registry.address());
    let user = format!("--docker-username={USER}");
    let password = format!("--docker-password={password}");
    stack.kubectl(&["create", "secret", "docker-registry", "login", &server, &user, &password]).map(drop)
}

async fn from_a_wrong_password_to_a_debugger(runtime: Runtime) -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let engine = Engine::start(runtime, &stack.dir().join("r")).await?;
    let registry = Registry::start(&stack.dir().join("registry")).await?;
    let name = registry.image("team/app:1");
    engine.add_image(&name, &["/bin/sh"])?;
    engine.push(&name, USER, PASSWORD)?;
    stack.join(&engine.options()).await?;
    stack.node_ready("edge1", LIMIT).await?;
    let account = json!({ "imagePullSecrets": [{ "name": "login" }] }).to_string();
    eventually("the service account exists", LIMIT, || async {
        stack.kubectl(&["patch", "serviceaccount", "default", "-p", &account])
    })
    .await?;
    login(&stack, &registry, "guessed")?;
    let mut app = pod::sleeper("app", "edge1")?;
    if let Some(spec) = &mut app.spec {
        spec.containers[0].image = Some(name);
    }
    stack.apply(&serde_json::to_string(&app)?)?;
    says(
        &stack,
        &["describe", "pod", "app"],
        &["ImagePullBackOff", "Failed to pull image", "Error: ErrImagePull"],
    )
    .await?;
    login(&stack, &registry, PASSWORD)?;
    pod::ready(&stack.client(), "app", LIMIT).await?;
    says(&stack, &["describe", "pod", "app"], &["Successfully pulled image"]).await?;

    let tool = format!("--image={}", image::BUSYBOX);
    let debug = ["debug", "app", &tool, "--image-pull-policy=IfNotPresent", "--target=main", "-c", "looks"];
    let command = ["--", "/bin/sh", "-c", "ps; sleep 3600"];
    stack.kubectl(&[debug.as_slice(), command.as_slice()].concat())?;
    says(
        &stack,
        &["describe", "pod", "app"],
        &["Ephemeral Containers:", "looks:", "Started container looks"],
    )
    .await?;
    let state = "jsonpath={.status.ephemeralContainerStatuses[0].state.running.startedAt}";
    says(&stack, &["get", "pod", "app", "-o", state], &["Z"]).await
}

#[tokio::test]
async fn a_wrong_password_is_told_a_right_one_helps_and_a_debugger_looks_in_on_containerd() -> Result<()> {
    from_a_wrong_password_to_a_debugger(Runtime::Containerd).await
}

#[tokio::test]
async fn a_wrong_password_is_told_a_right_one_helps_and_a_debugger_looks_in_on_docker() -> Result<()> {
    from_a_wrong_password_to_a_debugger(Runtime::Docker).await
}
