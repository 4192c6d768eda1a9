//! What users do about a pod that does not start, or that they want to look into: with kubectl, on both runtimes.

use std::time::Duration;

use anyhow::Result;
use e2e::registry::{PASSWORD, USER};
use e2e::{Containerd, Docker, EdgeOptions, Registry, Stack, StackOptions, eventually, image, pod};
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

/// The node is joined, and `name` is in the registry.
async fn from_a_wrong_password_to_a_debugger(stack: &Stack, registry: &Registry, name: &str) -> Result<()> {
    stack.node_ready("edge1", LIMIT).await?;
    let account = json!({ "imagePullSecrets": [{ "name": "login" }] }).to_string();
    eventually("the service account exists", LIMIT, || async {
        stack.kubectl(&["patch", "serviceaccount", "default", "-p", &account])
    })
    .await?;
    login(stack, registry, "guessed")?;
    let mut app = pod::sleeper("app", "edge1")?;
    if let Some(spec) = &mut app.spec {
        spec.containers[0].image = Some(name.to_owned());
    }
    stack.apply(&serde_json::to_string(&app)?)?;
    says(
        stack,
        &["describe", "pod", "app"],
        &["ImagePullBackOff", "Failed to pull image", "Error: ErrImagePull"],
    )
    .await?;
    login(stack, registry, PASSWORD)?;
    pod::ready(&stack.client(), "app", LIMIT).await?;
    says(stack, &["describe", "pod", "app"], &["Successfully pulled image"]).await?;

    let tool = format!("--image={}", image::BUSYBOX);
    let debug = ["debug", "app", &tool, "--image-pull-policy=IfNotPresent", "--target=main", "-c", "looks"];
    let command = ["--", "/bin/sh", "-c", "ps; sleep 3600"];
    stack.kubectl(&[debug.as_slice(), command.as_slice()].concat())?;
    says(stack, &["describe", "pod", "app"], &["Ephemeral Containers:", "looks:", "Started container looks"])
        .await?;
    let state = "jsonpath={.status.ephemeralContainerStatuses[0].state.running.startedAt}";
    says(stack, &["get", "pod", "app", "-o", state], &["Z"]).await
}

#[tokio::test]
async fn a_wrong_password_is_told_a_right_one_helps_and_a_debugger_looks_in_on_containerd() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let containerd = Containerd::start(&stack.dir().join("c")).await?;
    let registry = Registry::start(&stack.dir().join("registry")).await?;
    let name = registry.image("team/app:1");
    containerd.add_image(&name, &["/bin/sh"])?;
    containerd.push(&name, USER, PASSWORD)?;
    stack.join(&EdgeOptions::on(&containerd)).await?;
    from_a_wrong_password_to_a_debugger(&stack, &registry, &name).await
}

#[tokio::test]
async fn a_wrong_password_is_told_a_right_one_helps_and_a_debugger_looks_in_on_docker() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let docker = Docker::start(&stack.dir().join("d")).await?;
    let registry = Registry::start(&stack.dir().join("registry")).await?;
    let name = registry.image("team/app:1");
    docker.add_image(&name, &["/bin/sh"])?;
    docker.push(&name, USER, PASSWORD)?;
    let options = EdgeOptions {
        runtime: Some(docker.socket()),
        cgroup_root: Some(docker.cgroup_root()),
        overlay: json!({ "modules": { "edged": { "podSandboxImage": image::PAUSE } } }),
        ..EdgeOptions::default()
    };
    stack.join(&options).await?;
    from_a_wrong_password_to_a_debugger(&stack, &registry, &name).await
}
