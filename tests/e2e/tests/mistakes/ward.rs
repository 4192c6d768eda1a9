//! One installation with everything that goes wrong in it, and the words of `kubectl describe` there.

use std::pin::Pin;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::{Engine, Runtime, Stack, StackOptions, image::BUSYBOX};
use serde_json::{Value, json};

/// How long anything may take; the longest is a back-off of 40 s, among all the others on a small machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(150);
/// Between two looks: each is a start of kubectl.
const LOOK: Duration = Duration::from_millis(400);
/// Sleeps until it is told to end.
pub(crate) const SLEEP: &str = "trap 'exit 0' TERM; while :; do sleep 0.2; done";

/// One mistake, from its making to its end.
pub(crate) type Mistake<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// The installation.
pub(crate) struct Ward {
    pub(crate) stack: Stack,
    pub(crate) engine: Engine,
    pub(crate) runtime: Runtime,
}

impl Ward {
    pub(crate) async fn open(runtime: Runtime) -> Result<Self> {
        let mut stack = Stack::start(StackOptions::default()).await?;
        let engine = Engine::start(runtime, stack.dir()).await?;
        let mut options = engine.options();
        let kubelet = json!({ "nodeStatusUpdateFrequency": "1s", "runtimeRequestTimeout": "10s" });
        options.overlay["modules"]["edged"]["tailoredKubeletConfig"] = kubelet;
        stack.join(&options).await?;
        stack.node_ready("edge1", LIMIT).await?;
        std::fs::create_dir(stack.dir().join("host"))?;
        Ok(Self { stack, engine, runtime })
    }

    /// A place on the host that belongs to one mistake.
    pub(crate) fn host(&self, name: &str) -> String {
        self.stack.dir().join("host").join(name).to_string_lossy().into_owned()
    }

    /// Runs kubectl.
    pub(crate) async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.stack.kubeconfig()).args(args);
        let what = args.join(" ");
        let out = tokio::task::spawn_blocking(move || command.output()).await??;
        ensure!(out.status.success(), "kubectl {what}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(String::from_utf8(out.stdout)?)
    }

    /// Writes the object down and gives it to `kubectl VERB -f`.
    async fn give(&self, verb: &str, object: &Value) -> Result<()> {
        let part = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let file = self.stack.dir().join(format!("{}-{}.json", part("/kind"), part("/metadata/name")));
        std::fs::write(&file, object.to_string())?;
        self.kubectl(&[verb, "-f", &file.to_string_lossy()]).await.map(drop)
    }

    pub(crate) async fn apply(&self, object: &Value) -> Result<()> {
        self.give("apply", object).await
    }

    /// For what is too large for the annotation in which `apply` keeps a copy.
    pub(crate) async fn create(&self, object: &Value) -> Result<()> {
        self.give("create", object).await
    }

    /// Applies an object that the API refuses, and returns its words.
    pub(crate) async fn refused(&self, verb: &str, object: &Value) -> Result<String> {
        match self.give(verb, object).await {
            Ok(()) => bail!("kubectl {verb} took {object}"),
            Err(error) => Ok(error.to_string()),
        }
    }

    /// Waits until `kubectl describe` of a pod has each of `lines` in this order, and each event. Spaces count as one. An event is its
    /// type and reason, and its source and message; a message that ends in `…` goes on.
    pub(crate) async fn told(&self, pod: &str, lines: &[&str], events: &[(&str, &str)]) -> Result<()> {
        self.described("pod", pod, lines, events).await
    }

    pub(crate) async fn described(
        &self,
        kind: &str,
        name: &str,
        lines: &[&str],
        events: &[(&str, &str)],
    ) -> Result<()> {
        let end = tokio::time::Instant::now() + LIMIT;
        loop {
            let text =
                self.kubectl(&["describe", kind, name]).await.unwrap_or_else(|error| error.to_string());
            let Some(missing) = missing(&text, lines, events) else { return Ok(()) };
            if tokio::time::Instant::now() > end {
                bail!("{kind} {name} does not say within {LIMIT:?}: {missing}\n{text}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// One field of a pod.
    pub(crate) async fn field(&self, pod: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", "pod", pod, "-o", &format!("jsonpath={{{path}}}")]).await
    }

    /// The message of a waiting container, which describe does not show.
    pub(crate) async fn waits_because(&self, pod: &str, words: &str) -> Result<()> {
        let end = tokio::time::Instant::now() + LIMIT;
        loop {
            let said = self.field(pod, ".status.containerStatuses[0].state.waiting.message").await?;
            if said.contains(words) {
                return Ok(());
            }
            ensure!(tokio::time::Instant::now() < end, "{pod} waits not because of {words:?} but {said:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) async fn uid(&self, pod: &str) -> Result<String> {
        self.field(pod, ".metadata.uid").await
    }

    /// Waits until the pod is well, and says whether it is the one that was not.
    pub(crate) async fn well(&self, pod: &str, uid: &str) -> Result<()> {
        let lines =
            ["Status: Running", "State: Running", "Ready: True", "Ready True", "ContainersReady True"];
        self.told(pod, &lines, &[]).await.with_context(|| format!("{pod} does not recover"))?;
        ensure!(self.uid(pod).await? == uid, "{pod} was well only as another pod");
        self.end("pod", pod).await
    }

    /// Waits until the rollout of a Deployment is through.
    pub(crate) async fn rolled_out(&self, deployment: &str) -> Result<()> {
        let limit = format!("--timeout={}s", LIMIT.as_secs());
        self.kubectl(&["rollout", "status", &format!("deployment/{deployment}"), &limit]).await?;
        self.end("deployment", deployment).await
    }

    pub(crate) async fn end(&self, kind: &str, name: &str) -> Result<()> {
        self.kubectl(&["delete", kind, name, "--wait=false"]).await.map(drop)
    }

    /// The one pod of a Deployment, once there is one that does not end.
    pub(crate) async fn pod_of(&self, deployment: &str) -> Result<String> {
        let end = tokio::time::Instant::now() + LIMIT;
        let label = format!("app={deployment}");
        loop {
            let name = "jsonpath={.items[0].metadata.name}";
            if let Ok(name) = self.kubectl(&["get", "pods", "-l", &label, "-o", name]).await
                && !name.is_empty()
            {
                return Ok(name);
            }
            ensure!(tokio::time::Instant::now() < end, "no pod of {deployment}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What of it the text does not say.
fn missing(text: &str, lines: &[&str], events: &[(&str, &str)]) -> Option<String> {
    let said: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let mut rest = said.iter();
    if let Some(line) = lines.iter().find(|line| !rest.any(|said| fits(said, line))) {
        return Some(format!("line {line:?}, after those before it"));
    }
    let found = |(what, message): &(&str, &str)| {
        let mut of_kind = said.iter().filter(|said| said.starts_with(&format!("{what} ")));
        of_kind.any(|said| match message.strip_suffix('…') {
            Some(start) => said.contains(&format!(" {start}")),
            None => said.ends_with(&format!(" {message}")),
        })
    };
    events.iter().find(|event| !found(event)).map(|(what, message)| format!("event {what:?}: {message:?}"))
}

fn fits(said: &str, line: &str) -> bool {
    match line.strip_suffix('…') {
        Some(start) => said.starts_with(start),
        None => said == line,
    }
}

/// A pod of the default namespace whose one container `c` runs `script`.
pub(crate) fn pod(name: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "terminationGracePeriodSeconds": 1, "containers": [{
            "name": "c", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/sh", "-c", script],
        }] },
    })
}

/// The pod with a volume `v`, which its container sees at `/v`.
pub(crate) fn mounting(mut pod: Value, mut source: Value) -> Value {
    source["name"] = "v".into();
    pod["spec"]["volumes"] = json!([source]);
    container(&mut pod)["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
    pod
}

/// The one container of a pod.
pub(crate) fn container(pod: &mut Value) -> &mut Value {
    &mut pod["spec"]["containers"][0]
}

/// A Deployment of one such pod, which ends an old pod before it makes a new one.
pub(crate) fn deployment(pod: &Value) -> Value {
    let name = &pod["metadata"]["name"];
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": {
            "replicas": 1, "strategy": { "type": "Recreate" }, "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": pod["spec"] },
        },
    })
}

/// How describe shows the conditions of a pod that cannot begin for want of something.
pub(crate) const UNREADY: [&str; 4] =
    ["Initialized True", "Ready False", "ContainersReady False", "PodScheduled True"];
