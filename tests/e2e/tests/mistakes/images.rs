//! Names of images.

use anyhow::Result;
use e2e::image::BUSYBOX;

use super::ward::{SLEEP, Ward, container, pod};

/// What is wrong with `BusyBox`.
pub(crate) const CAPITALS: &str =
    "invalid reference format: repository name (library/BusyBox) must be lowercase";

pub(crate) async fn a_name_is_none(ward: &Ward, name: &str, image: &str, why: &str) -> Result<()> {
    let name = format!("image-with-{name}");
    let mut wrong = pod(&name, SLEEP);
    container(&mut wrong)["image"] = image.into();
    ward.apply(&wrong).await?;
    let words = format!(
        "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": {why}"
    );
    let lines = [
        "State: Waiting",
        "Reason: InvalidImageName",
        "Ready: False",
        "Ready False",
        "ContainersReady False",
    ];
    let events = [
        ("Warning InspectFailed", format!("kubelet {words}")),
        ("Warning Failed", "kubelet Error: InvalidImageName".to_owned()),
    ];
    let events: Vec<(&str, &str)> = events.iter().map(|(what, words)| (*what, words.as_str())).collect();
    ward.told(&name, &lines, &events).await?;
    ward.waits_because(&name, &words).await?;
    let uid = ward.uid(&name).await?;
    ward.kubectl(&["set", "image", &format!("pod/{name}"), &format!("c={BUSYBOX}")]).await?;
    ward.well(&name, &uid).await
}

pub(crate) async fn an_image_is_not_to_be_had(ward: &Ward) -> Result<()> {
    let (name, image) = ("image-away", "127.0.0.1:1/away/app:1");
    let mut away = pod(name, SLEEP);
    container(&mut away)["image"] = image.into();
    ward.apply(&away).await?;
    let lines = [
        "State: Waiting",
        "Reason: ImagePullBackOff",
        "Ready: False",
        "Ready False",
        "ContainersReady False",
    ];
    let pulling = format!("kubelet Pulling image \"{image}\"");
    let failed = format!("kubelet Failed to pull image \"{image}\": rpc error: code = Unknown desc = …");
    let back_off = format!("kubelet Back-off pulling image \"{image}\"");
    let events = [
        ("Normal Pulling", pulling.as_str()),
        ("Warning Failed", &failed),
        ("Warning Failed", "kubelet Error: ErrImagePull"),
        ("Normal BackOff", &back_off),
        ("Warning Failed", "kubelet Error: ImagePullBackOff"),
    ];
    ward.told(name, &lines, &events).await?;
    let words =
        format!("Back-off pulling image \"{image}\": ErrImagePull: rpc error: code = Unknown desc = ");
    ward.waits_because(name, &words).await?;
    let uid = ward.uid(name).await?;
    ward.engine.add_image(image, &["/bin/sh"])?;
    ward.well(name, &uid).await
}

pub(crate) async fn an_image_that_may_not_be_pulled_is_not_there(ward: &Ward) -> Result<()> {
    let (name, image) = ("image-never-pulled", "skerry.test/by-hand:1");
    let mut never = pod(name, SLEEP);
    container(&mut never)["image"] = image.into();
    container(&mut never)["imagePullPolicy"] = "Never".into();
    ward.apply(&never).await?;
    let words = format!("Container image \"{image}\" is not present with pull policy of Never");
    let lines = ["State: Waiting", "Reason: ErrImageNeverPull", "Ready: False", "Ready False"];
    let never = format!("kubelet {words}");
    let events = [
        ("Warning ErrImageNeverPull", never.as_str()),
        ("Warning Failed", "kubelet Error: ErrImageNeverPull"),
    ];
    ward.told(name, &lines, &events).await?;
    ward.waits_because(name, &words).await?;
    let uid = ward.uid(name).await?;
    ward.engine.add_image(image, &["/bin/sh"])?;
    ward.well(name, &uid).await
}
