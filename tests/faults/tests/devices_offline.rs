//! What devices report while the cloud cannot be reached.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use e2e::{EdgeOptions, Fault, Sensor, Stack, StackOptions, device, eventually};
use kube::{Api, api::DynamicObject};

const LIMIT: Duration = Duration::from_secs(60);

fn properties() -> Vec<String> {
    (0..10).map(|number| format!("p{number}")).collect()
}

async fn shows(stack: &Stack, name: &str, wanted: &BTreeMap<String, String>) -> Result<()> {
    let statuses: Api<DynamicObject> =
        Api::namespaced_with(stack.client(), "default", &device::status_resource());
    eventually("the cloud shows the last value of every property", LIMIT, || async {
        let status = statuses.get(name).await.map_err(|error| error.to_string())?;
        let shown: BTreeMap<_, _> = wanted
            .keys()
            .filter_map(|property| Some((property.clone(), device::reported(&status, property)?)))
            .collect();
        if shown == *wanted { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await
}

#[tokio::test]
async fn a_thousand_changes_offline_with_two_kills_arrive_as_the_last_value_of_every_property() -> Result<()>
{
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    device::apply(&stack.client(), "edge1", "meter", &properties()).await?;
    let mut sensor = Sensor::new("meter", stack.mqtt_port());
    let mut last = BTreeMap::new();
    for property in properties() {
        sensor.report("meter", &property, "0", LIMIT).await?;
        last.insert(property, "0".to_owned());
    }
    shows(&stack, "meter", &last).await?;

    stack.link.set(Fault::Refuse);
    for change in 1..=1000_usize {
        if change == 300 || change == 700 {
            stack.edge_mut()?.restart()?;
        }
        let property = format!("p{}", change % 10);
        sensor.report("meter", &property, &change.to_string(), LIMIT).await?;
        last.insert(property, change.to_string());
    }
    stack.link.set(Fault::None);
    shows(&stack, "meter", &last).await
}

#[tokio::test]
async fn what_was_reported_before_the_edge_was_rebooted_without_its_cloud_is_reported_after_healing()
-> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    device::apply_thermometer(&stack.client(), "edge1", "meter").await?;
    let mut sensor = Sensor::new("meter", stack.mqtt_port());
    sensor.report("meter", "temperature", "1", LIMIT).await?;
    shows(&stack, "meter", &BTreeMap::from([("temperature".to_owned(), "1".to_owned())])).await?;

    stack.cloud.kill();
    sensor.report("meter", "temperature", "2", LIMIT).await?;
    stack.edge_mut()?.kill();
    stack.edge_mut()?.restart()?;
    stack.cloud.restart()?;
    shows(&stack, "meter", &BTreeMap::from([("temperature".to_owned(), "2".to_owned())])).await
}

#[tokio::test]
async fn a_silent_link_is_noticed_in_seconds_and_the_node_reports_again_when_it_heals() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    device::apply_thermometer(&stack.client(), "edge1", "meter").await?;
    let mut sensor = Sensor::new("meter", stack.mqtt_port());
    sensor.report("meter", "temperature", "1", LIMIT).await?;
    shows(&stack, "meter", &BTreeMap::from([("temperature".to_owned(), "1".to_owned())])).await?;

    stack.link.set(Fault::Silence);
    sensor.report("meter", "temperature", "2", LIMIT).await?;
    let edge = stack.edge_mut()?;
    eventually("the edge notices the silence", Duration::from_secs(30), || {
        let dead = edge.output().contains("the cloud went silent");
        async move { if dead { Ok(()) } else { Err(()) } }
    })
    .await?;
    stack.link.set(Fault::None);
    shows(&stack, "meter", &BTreeMap::from([("temperature".to_owned(), "2".to_owned())])).await
}
