//! Disks that are full and files that are broken.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{EdgeOptions, Sensor, Stack, StackOptions, device, disk, eventually};
use kube::{Api, api::DynamicObject};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);

async fn shows(stack: &Stack, value: &str) -> Result<()> {
    let statuses: Api<DynamicObject> =
        Api::namespaced_with(stack.client(), "default", &device::status_resource());
    eventually(&format!("the cloud shows {value}"), LIMIT, || async {
        let status = statuses.get("meter").await.map_err(|error| error.to_string())?;
        let shown = device::reported(&status, "temperature");
        if shown.as_deref() == Some(value) { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await
}

#[tokio::test]
async fn a_full_disk_refuses_readings_loudly_and_takes_them_again_when_there_is_room() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let disk = stack.dir().join("disk");
    disk::small(&disk, "4m")?;
    let overlay = json!({ "database": { "dataSource": disk.join("edgecore.db") } });
    stack.join(&EdgeOptions { overlay, ..EdgeOptions::default() }).await?;
    device::apply_thermometer(&stack.client(), "edge1", "meter").await?;
    let mut sensor = Sensor::new("meter", stack.mqtt_port());
    sensor.report("meter", "temperature", "1", LIMIT).await?;
    shows(&stack, "1").await?;

    let filler = disk::fill(&disk)?;
    let mut refused = None;
    for reading in 2..400 {
        if let Err(error) = sensor.report("meter", "temperature", &reading.to_string(), LIMIT).await {
            refused = Some(format!("{error:#}"));
            break;
        }
    }
    let refused = refused.expect("a full disk takes no more readings");
    ensure!(refused.contains("full") || refused.contains("disk"), "the sensor is told why: {refused}");
    ensure!(stack.edge_mut()?.exited().is_none(), "edgecore lives on");

    std::fs::remove_file(&filler)?;
    sensor.report("meter", "temperature", "1000", LIMIT).await?;
    shows(&stack, "1000").await
}

#[tokio::test]
async fn corrupt_stores_are_moved_aside_loudly_and_rebuilt_from_the_cloud() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    device::apply_thermometer(&stack.client(), "edge1", "meter").await?;
    let mut sensor = Sensor::new("meter", stack.mqtt_port());
    sensor.report("meter", "temperature", "1", LIMIT).await?;
    shows(&stack, "1").await?;

    stack.edge_mut()?.kill();
    let dir = stack.dir().join("edge");
    for name in ["edgecore.db", "devicetwin.db"] {
        std::fs::write(dir.join(name), b"this is no database".repeat(1000))?;
        for suffix in ["-wal", "-shm"] {
            std::fs::remove_file(dir.join(format!("{name}{suffix}"))).ok();
        }
    }
    stack.edge_mut()?.restart()?;
    sensor.report("meter", "temperature", "2", LIMIT).await?;
    shows(&stack, "2").await?;
    let aside = std::fs::read_dir(&dir)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains(".corrupt-"))
        .count();
    ensure!(aside == 2, "both files were kept for inspection, found {aside}");
    let log = stack.edge_mut()?.output();
    ensure!(log.contains("ERROR") && log.contains("corrupt"), "the log says it loudly");
    Ok(())
}
