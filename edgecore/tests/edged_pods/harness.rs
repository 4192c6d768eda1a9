//! What a test that fails leaves of its pods on the machine: nothing, or the next one fails for it.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Command;

use futures::FutureExt;
use serde_json::json;

use super::engine::{Kind, on_every_runtime};
use super::node::{Node, SLEEP, pod, shell};

on_every_runtime!(a_test_that_fails_leaves_nothing_of_its_pods_on_the_machine);

/// What stands on the machine of a runtime whose cgroup root, bridge and network end with `tag`, and of the node in `dir`.
fn traces(tag: &str, dir: &Path) -> Vec<String> {
    let out = |program: &str, args: &[&str]| {
        let out = Command::new(program).args(args).output().expect("it runs");
        String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut found = e2e::firewall::rules(&format!("skerry-{tag}"));
    found.extend(out("ip", &["-o", "link"]).into_iter().filter(|link| link.contains(tag)));
    found.extend(out("ls", &["/var/lib/cni/results"]).into_iter().filter(|file| file.contains(tag)));
    let paths = e2e::containerd::mounts_below(dir)
        .into_iter()
        .chain(e2e::containerd::cgroups(&format!("skerry-sk{tag}")));
    found.extend(paths.map(|path| path.display().to_string()));
    let processes = procfs::process::all_processes().expect("processes").flatten();
    let commands = processes.filter_map(|process| Some(process.cmdline().ok()?.join(" ")));
    found.extend(commands.filter(|command| command.contains(&*dir.to_string_lossy())));
    found
}

async fn a_test_that_fails_leaves_nothing_of_its_pods_on_the_machine(runtime: Kind) {
    const WORDS: &str = "a test fails";
    let node = Node::start(runtime).await;
    let tag = node.engine.cgroup_root().trim_start_matches("/skerry-sk").to_owned();
    let dir = node.settings.root.parent().expect("a folder").to_owned();
    let test = async {
        let node = node;
        let [port] = e2e::free_ports().expect("a free port");
        let mut c = shell("c", SLEEP);
        c["ports"] = json!([{ "containerPort": 80, "hostPort": port, "hostIP": "127.0.0.1" }]);
        let volumes = json!([{ "name": "v", "emptyDir": { "medium": "Memory" } }]);
        node.run_pod(&pod("left", json!({ "containers": [c], "volumes": volumes }))).await;
        node.ready("left").await;
        let found = traces(&tag, &dir);
        let has = |what: &str| found.iter().any(|one| one.contains(what));
        assert!(has("empty-dir/v") && has("shim") && has("veth"), "{found:#?}");
        assert!(runtime == Kind::Docker || has(&format!("--dports {port} ")), "{found:#?}");
        std::panic::panic_any(WORDS);
    };
    let end = AssertUnwindSafe(test).catch_unwind().await.map(|()| "it passed").expect_err("it fails");
    assert_eq!(end.downcast_ref(), Some(&WORDS), "it failed before");
    assert_eq!(traces(&tag, &dir), Vec::<String>::new());
    assert!(!dir.exists());
}
