//! What users get wrong with their pods: `kubectl describe pod` says it in the kubelet's words, and once the user has put it right,
//! everything is well without a hand on the node. One installation holds all of them at once, so that none disturbs another; what is
//! wrong with the runtime itself comes last.

mod commands;
mod images;
mod limits;
mod objects;
mod places;
mod ports;
mod probes;
mod runtime;
mod ward;

use anyhow::{Result, ensure};
use e2e::Runtime;
use futures::future::join_all;
use ward::{Mistake, Ward};

#[tokio::test(flavor = "multi_thread")]
async fn on_containerd_mistakes_are_told_as_by_a_kubelet_and_end_when_they_are_put_right() -> Result<()> {
    all(Runtime::Containerd).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_docker_mistakes_are_told_as_by_a_kubelet_and_end_when_they_are_put_right() -> Result<()> {
    all(Runtime::Docker).await
}

async fn all(runtime: Runtime) -> Result<()> {
    let mut ward = Ward::open(runtime).await?;
    let mistakes: Vec<Mistake<'_>> = vec![
        Box::pin(objects::a_map_or_secret_of_a_variable_is_missing_then_its_key(&ward, "ConfigMap")),
        Box::pin(objects::a_map_or_secret_of_a_variable_is_missing_then_its_key(&ward, "Secret")),
        Box::pin(objects::a_map_or_secret_of_a_volume_is_missing_then_its_key(&ward, "ConfigMap")),
        Box::pin(objects::a_map_or_secret_of_a_volume_is_missing_then_its_key(&ward, "Secret")),
        Box::pin(objects::a_secret_is_too_large_for_the_api_then_for_a_variable(&ward)),
        Box::pin(images::a_name_is_none(&ward, "spaces", "not a name", "invalid reference format")),
        Box::pin(images::a_name_is_none(&ward, "capitals", "BusyBox", images::CAPITALS)),
        Box::pin(images::an_image_is_not_to_be_had(&ward)),
        Box::pin(images::an_image_that_may_not_be_pulled_is_not_there(&ward)),
        Box::pin(places::a_folder_of_the_host_is_missing(&ward)),
        Box::pin(places::a_file_is_where_a_folder_should_be(&ward)),
        Box::pin(places::a_place_in_the_container_cannot_be_mounted_on(&ward)),
        Box::pin(ports::two_pods_want_one_port_of_the_only_node(&ward)),
        Box::pin(ports::a_bound_pod_wants_a_port_that_another_holds(&ward)),
        Box::pin(ports::a_process_of_the_host_has_the_port(&ward)),
        Box::pin(limits::a_limit_is_below_the_request(&ward)),
        Box::pin(limits::more_is_asked_than_the_node_has(&ward)),
        Box::pin(limits::a_bound_pod_asks_for_more_than_the_node_has(&ward, "cpu", "4k", "4000000")),
        Box::pin(limits::a_bound_pod_asks_for_more_than_the_node_has(
            &ward,
            "memory",
            "64Ti",
            "70368744177664",
        )),
        Box::pin(limits::nothing_can_run_in_the_memory(&ward)),
        Box::pin(limits::a_volume_outgrows_its_limit(&ward)),
        Box::pin(commands::a_command_is_not_found_until_it_is_there(&ward)),
        Box::pin(commands::a_command_is_misspelt_in_a_deployment(&ward)),
        Box::pin(commands::a_container_crashes_until_its_setting_is_right(&ward)),
        Box::pin(probes::a_command_that_asks_for_readiness_hangs(&ward)),
        Box::pin(probes::a_page_that_shows_life_hangs(&ward)),
    ];
    let failures: Vec<String> = join_all(mistakes)
        .await
        .into_iter()
        .filter_map(Result::err)
        .map(|error| format!("{error:?}"))
        .collect();
    ensure!(failures.is_empty(), "{} mistakes: {}", failures.len(), failures.join("\n\n"));
    runtime::it_hangs(&mut ward).await?;
    runtime::its_socket_is_gone(&mut ward).await?;
    runtime::it_is_restarted_under_the_agent(&mut ward).await
}
