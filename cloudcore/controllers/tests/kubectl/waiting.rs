//! Waiting for what was asked for, and the words of rollouts; [`rollout.rs`](../rollout.rs) has the rest of them.

use super::{Running, assert_lines, deployment};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_returns_when_it_is_so_and_says_when_it_is_not() {
    let running = Running::start().await;
    running.apply("web.yaml", &deployment("web", 1)).await;
    let met = "deployment.apps/web condition met\n";
    assert_eq!(running.must("wait --for=condition=Available deploy/web --timeout=20s").await, met);
    assert_eq!(
        running.must("wait --for=jsonpath={.status.readyReplicas}=1 deploy/web --timeout=20s").await,
        met
    );
    assert_eq!(running.must("wait --for=create deploy/web").await, met);
    assert_eq!(running.must("wait --for=delete pod/gone").await, "");
    let pod = running.must("get pods -o name").await;
    let waiting = format!("wait --for=delete {} --timeout=20s", pod.trim());
    let (deleted, waited) = tokio::join!(running.must("delete pods --all"), running.must(&waiting));
    assert!(deleted.ends_with(" deleted\n") && waited.len() < 80, "{deleted}{waited}");
    assert_eq!(
        running.fails("wait --for=condition=Nope deploy/web --timeout=1s").await,
        "error: timed out waiting for the condition on deployments/web\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollouts_are_spoken_of_in_kubernetes_words() {
    let running = Running::start().await;
    running.apply("web.yaml", &deployment("web", 2)).await;
    running.rolled_out("web").await;
    running.must("set image deploy/web http=http:2").await;
    running.rolled_out("web").await;
    let history = running.must("rollout history deploy/web").await;
    assert_lines(&history, &["deployment.apps/web", "REVISION CHANGE-CAUSE", "1 <none>", "2 <none>"]);
    for (command, said) in [
        ("rollout undo deploy/web", "deployment.apps/web rolled back\n"),
        ("rollout pause deploy/web", "deployment.apps/web paused\n"),
        ("rollout resume deploy/web", "deployment.apps/web resumed\n"),
        ("rollout restart deploy/web", "deployment.apps/web restarted\n"),
    ] {
        assert_eq!(running.must(command).await, said);
    }
    running.rolled_out("web").await;
    assert_eq!(
        running.fails("rollout resume deploy/web").await,
        "error: deployments.apps \"web\" is not paused\n"
    );
    running.must("rollout pause deploy/web").await;
    assert_eq!(
        running.fails("rollout undo deploy/web").await,
        "error: you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume' and try again\n"
    );
}
