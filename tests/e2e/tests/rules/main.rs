//! Rules between programs in the cloud and a node, with real binaries, a real MQTT client and real HTTP servers, whoever is killed or cut off
//! meanwhile.

mod secure;
mod site;

use std::time::Duration;

use anyhow::Result;
use e2e::{Fault, Sensor, disk, eventually};
use serde_json::json;
use site::{Ear, LIMIT, Server, Site, call};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_on_a_node_is_posted_and_a_deleted_rule_ends_it() -> Result<()> {
    let (site, target) = (Site::plain().await?, Server::start().await?);
    site.up("up", "room/t", &target)?;
    site.wanted(1, 0).await?;
    let mut sensor = Sensor::new("sensor", site.stack.mqtt_port());
    sensor.publish("default/room/t", r#"{"v":1}"#, LIMIT).await?;
    eventually("the target has the message", LIMIT, || async {
        if target.bodies() == [r#"{"v":1}"#] { Ok(()) } else { Err(target.bodies()) }
    })
    .await?;
    let seen = &target.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/in"));

    // Bytes that are no text arrive as they are, other topics do not.
    let (client, mut events) =
        rumqttc::AsyncClient::new(rumqttc::MqttOptions::new("b", "127.0.0.1", site.stack.mqtt_port()), 9);
    client.publish("default/room/u", rumqttc::QoS::AtLeastOnce, false, "other").await?;
    client.publish("default/room/t", rumqttc::QoS::AtLeastOnce, false, vec![b'a', 0xff]).await?;
    let mut acknowledged = 0;
    while acknowledged < 2 {
        let event = tokio::time::timeout(LIMIT, events.poll()).await??;
        acknowledged += usize::from(matches!(event, rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_))));
    }
    eventually("bytes arrive", LIMIT, || async {
        let bodies = target.bodies();
        if bodies.len() == 2 { Ok(()) } else { Err(bodies) }
    })
    .await?;
    assert_eq!(target.bodies()[1], "a\u{fffd}");

    eventually("the rule tells what became of its messages", LIMIT, || async {
        let status = site.status("up").await.map_err(|error| error.to_string())?;
        if status["successMessages"] == 2 { Ok(()) } else { Err(status.to_string()) }
    })
    .await?;
    let told = site.stack.kubectl(&["describe", "rule", "up"])?;
    assert!(told.contains("Success Messages:"), "{told}");
    let table = site.stack.kubectl(&["get", "rules"])?;
    assert!(table.contains("SUCCESS") && table.contains("mqtt") && table.contains("web"), "{table}");

    // A target that says no costs a message, once, and the rule says why.
    target.answer_with(400);
    sensor.publish("default/room/t", "refused", LIMIT).await?;
    eventually("the rule shows the error", LIMIT, || async {
        let status = site.status("up").await.map_err(|error| error.to_string())?;
        let errors = status["errors"].to_string();
        if status["failMessages"] == 1 && errors.contains("400 Bad Request") {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await?;
    target.answer_with(200);

    site.stack.kubectl(&["delete", "rule", "up"])?;
    site.wanted(0, 0).await?;
    sensor.publish("default/room/t", "late", LIMIT).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(target.bodies().len(), 3, "{:?}", target.bodies());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_the_cloud_publishes_on_a_node() -> Result<()> {
    let site = Site::plain().await?;
    site.rule(
        "down",
        json!({
            "source": "web", "sourceResource": { "path": "/cmd" },
            "target": "mqtt", "targetResource": { "topic": "lights" },
        }),
    )?;
    let mut ear = Ear::on(site.stack.mqtt_port(), "lights/#").await?;
    let url = site.url("/edge1/default/cmd/kitchen");
    eventually("the rule works and the node is there", LIMIT, || async {
        let said = call("POST", &url, b"on").await.map_err(|error| error.to_string())?;
        if said.status == 200 { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await?;
    assert_eq!(ear.next().await?, ("lights/kitchen".to_owned(), b"on".to_vec()));
    let said = call("PUT", &url, &[0xff, 0]).await?;
    assert_eq!((said.status, said.body.as_str()), (200, "message delivered"));
    assert_eq!(ear.next().await?, ("lights/kitchen".to_owned(), vec![0xff, 0]));

    // What the README shows.
    site.stack.apply(include_str!("../../../../deploy/samples/rules.yaml"))?;
    let mut lamp = Ear::on(site.stack.mqtt_port(), "cmd/#").await?;
    let sample = site.url("/edge1/default/lights/kitchen");
    eventually("the sample works", LIMIT, || async {
        let said = call("POST", &sample, b"off").await.map_err(|error| error.to_string())?;
        if said.status == 200 { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await?;
    assert_eq!(lamp.next().await?, ("cmd/lights/kitchen".to_owned(), b"off".to_vec()));

    let said = call("POST", &site.url("/edge9/default/cmd/kitchen"), b"on").await?;
    assert_eq!((said.status, said.body.as_str()), (500, "cloudcore doesn't have session for node:edge9"));
    // KubeEdge's pattern would take this for the rule's.
    for path in ["/edge1/default/cmdx", "/edge1/default/none", "/edge1/other/cmd", "/", "/edge1"] {
        let said = call("POST", &site.url(path), b"on").await?;
        assert_eq!((said.status, said.body.as_str()), (404, "Request error"), "{path}");
    }
    let said = call("POST", &site.url("/edge1/default/cmd/+"), b"on").await?;
    assert_eq!(said.status, 400, "{}", said.body);
    let said = call("POST", &url, &vec![b'x'; (12 << 20) + 1]).await?;
    assert_eq!(said.status, 413, "{}", said.body);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_on_a_node_is_called_once_and_its_answer_is_passed_on_as_it_is() -> Result<()> {
    let (site, mut program) = (Site::plain().await?, Server::start().await?);
    site.stack.apply(&format!(
        r#"{{"apiVersion":"rules.kubeedge.io/v1","kind":"RuleEndpoint","metadata":{{"name":"program","namespace":"default"}},"spec":{{"ruleEndpointType":"servicebus","properties":{{"service_port":"{}"}}}}}}"#,
        program.address.port()
    ))?;
    site.rule(
        "call",
        json!({
            "source": "web", "sourceResource": { "path": "api/{version}" },
            "target": "program", "targetResource": { "path": "/app" },
        }),
    )?;
    let url = site.url("/edge1/default/api/v1/lamps/7?on=1");
    eventually("the rule works and the node is there", LIMIT, || async {
        let said = call("POST", &url, b"ok").await.map_err(|error| error.to_string())?;
        if said.status == 200 { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await?;
    let before = program.seen();
    let seen = before.last().expect("a call");
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str(), seen.body.as_str()),
        ("POST", "/app/lamps/7?on=1", "ok")
    );
    assert_eq!(seen.headers["x-mine"], "1");

    for status in [201, 204, 404, 500, 503] {
        program.answer_with(status);
        let said = call("PUT", &url, b"once").await?;
        assert_eq!((said.status, said.headers["x-answer"].to_str()?), (status, "yes"));
        if status != 204 {
            assert_eq!(said.body, "once");
        }
    }
    assert_eq!(program.seen().len(), before.len() + 5, "each call is made once");

    program.pause().await;
    let said = call("GET", &url, b"").await?;
    assert!(said.status == 502 && said.body.contains("error to call service"), "{said:?}");

    // The node goes away in the middle: the caller hears of it when its time is over.
    site.stack.link.set(Fault::Silence);
    let said = call("GET", &url, b"").await?;
    assert!(said.status == 504 && said.body.contains("wait to get response time out"), "{said:?}");
    let status = eventually("the rule counts", LIMIT, || async {
        let status = site.status("call").await.map_err(|error| error.to_string())?;
        if status["failMessages"] == 1 { Ok(status) } else { Err(status.to_string()) }
    })
    .await?;
    assert!(status["errors"][0].as_str().is_some_and(|error| error.contains("time out")), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_on_a_node_calls_the_cloud_if_a_rule_lets_it() -> Result<()> {
    let (site, mut target) = (Site::plain().await?, Server::start().await?);
    let programs = format!("http://127.0.0.1:{}/", site.programs);
    let ask = async |url: &str| -> Result<serde_json::Value> {
        let body = json!({ "method": "POST", "targetURL": url, "payload": { "v": 1 } });
        let said = call("POST", &programs, body.to_string().as_bytes()).await?;
        assert_eq!(said.status, 200);
        Ok(serde_json::from_str(&said.body)?)
    };
    eventually("ServiceBus listens", LIMIT, || async {
        call("GET", &programs, b"").await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await?;
    let said = ask("http://cloud/x").await?;
    assert_eq!(said["code"], 400);
    assert_eq!(
        said["msg"],
        "url http://cloud/x is not allowed and please make a rule for this url in the cloud"
    );
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&call("POST", &programs, b"{").await?.body)?["msg"],
        "invalid params"
    );

    site.stack.apply(r#"{"apiVersion":"rules.kubeedge.io/v1","kind":"RuleEndpoint","metadata":{"name":"programs","namespace":"default"},"spec":{"ruleEndpointType":"servicebus","properties":{"service_port":"1"}}}"#)?;
    site.rule(
        "ask",
        json!({
            "source": "programs", "sourceResource": { "target_url": "http://cloud/x", "node_name": "edge1" },
            "target": "web", "targetResource": { "resource": format!("http://{}/x", target.address) },
        }),
    )?;
    site.wanted(0, 1).await?;
    let said = ask("http://cloud/x").await?;
    assert_eq!(said["code"], 200, "{said}");
    assert_eq!(said["msg"], "receive response from cloud successfully");
    // The target is posted all that the program wrote, and what it says comes back.
    let heard: serde_json::Value = serde_json::from_str(said["body"].as_str().unwrap_or_default())?;
    assert_eq!((&heard["targetURL"], &heard["payload"]["v"]), (&json!("http://cloud/x"), &json!(1)));

    target.pause().await;
    let said = ask("http://cloud/x").await?;
    assert!(
        said["code"] == 500 && said["msg"].as_str().is_some_and(|why| why.contains("refused: POST")),
        "{said}"
    );

    site.stack.kubectl(&["delete", "rule", "ask"])?;
    site.wanted(0, 0).await?;
    assert_eq!(ask("http://cloud/x").await?["code"], 400);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_an_hour_offline_arrive_in_order_though_all_are_killed_meanwhile() -> Result<()> {
    const MESSAGES: usize = 300;
    let (mut site, mut target) = (Site::plain().await?, Server::start().await?);
    site.up("up", "room/t", &target)?;
    site.wanted(1, 0).await?;
    site.stack.link.set(Fault::Refuse);
    let mut sensor = Sensor::new("sensor", site.stack.mqtt_port());
    for number in 0..MESSAGES {
        if number == 100 || number == 200 {
            site.stack.edge_mut()?.restart()?;
            // A new client keeps its message until it is connected.
            sensor = Sensor::new("sensor", site.stack.mqtt_port());
        }
        sensor.publish("default/room/t", &number.to_string(), LIMIT).await?;
    }
    assert!(target.bodies().is_empty());

    site.stack.link.set(Fault::None);
    let arrived = async |count: usize| {
        eventually("messages arrive", LIMIT, || async {
            if target.bodies().len() >= count { Ok(()) } else { Err(target.bodies().len()) }
        })
        .await
    };
    // In the middle of it: the cloud, then the node, then the link.
    arrived(50).await?;
    site.stack.cloud.restart()?;
    arrived(100).await?;
    site.stack.edge_mut()?.restart()?;
    arrived(150).await?;
    site.stack.link.set(Fault::Refuse);
    tokio::time::sleep(Duration::from_millis(300)).await;
    site.stack.link.set(Fault::None);
    arrived(200).await?;
    // And the target.
    target.pause().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    target.resume().await?;

    let wanted: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    eventually("all messages have arrived", LIMIT, || async {
        let mut bodies = target.bodies();
        // At least once: one may come twice in a row where something was killed.
        bodies.dedup();
        if bodies == wanted { Ok(()) } else { Err(bodies) }
    })
    .await?;
    let twice = target.bodies().len() - MESSAGES;
    assert!(twice <= 5, "{twice} messages came twice, more than there were kills");
    let mut ids: Vec<_> =
        target.seen().into_iter().map(|seen| seen.headers["idempotency-key"].clone()).collect();
    ids.dedup();
    assert_eq!(ids.len(), MESSAGES, "a message that comes again says so by its key");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_came_and_went_while_a_node_was_away_are_known_to_it_when_it_is_back() -> Result<()> {
    let (mut site, target) = (Site::plain().await?, Server::start().await?);
    site.up("old", "old", &target)?;
    site.wanted(1, 0).await?;
    site.stack.link.set(Fault::Refuse);
    site.stack.kubectl(&["delete", "rule", "old"])?;
    site.up("one", "new/one", &target)?;
    site.up("two", "new/+/x", &target)?;
    site.stack.edge_mut()?.restart()?;
    site.stack.cloud.restart()?;
    site.stack.link.set(Fault::None);
    site.wanted(2, 0).await?;
    let mut sensor = Sensor::new("sensor", site.stack.mqtt_port());
    for topic in ["old", "new/one", "new/a/x", "new/a/y"] {
        sensor.publish(&format!("default/{topic}"), topic, LIMIT).await?;
    }
    eventually("the new rules work", LIMIT, || async {
        let mut bodies = target.bodies();
        bodies.sort();
        if bodies == ["new/a/x", "new/one"] { Ok(()) } else { Err(bodies) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_call_costs_that_call_and_no_other_and_never_a_second_one() -> Result<()> {
    let (mut site, program) = (Site::plain().await?, Server::start().await?);
    site.stack.apply(&format!(
        r#"{{"apiVersion":"rules.kubeedge.io/v1","kind":"RuleEndpoint","metadata":{{"name":"program","namespace":"default"}},"spec":{{"ruleEndpointType":"servicebus","properties":{{"service_port":"{}"}}}}}}"#,
        program.address.port()
    ))?;
    site.rule(
        "call",
        json!({
            "source": "web", "sourceResource": { "path": "api" },
            "target": "program", "targetResource": { "path": "/app" },
        }),
    )?;
    let url = site.url("/edge1/default/api");
    let works = async || {
        eventually("a call gets through", LIMIT, || async {
            let said = call("POST", &url, b"again").await.map_err(|error| error.to_string())?;
            if said.status == 200 { Ok(()) } else { Err(format!("{said:?}")) }
        })
        .await
    };
    works().await?;
    program.take_its_time(true);
    for (killed, body) in [("edge", "first"), ("cloud", "second")] {
        let under_way = call("POST", &url, body.as_bytes());
        tokio::pin!(under_way);
        let there = eventually("the program is called", LIMIT, || async {
            if program.bodies().iter().any(|seen| seen == body) { Ok(()) } else { Err(program.bodies()) }
        });
        tokio::select! {
            there = there => there?,
            said = &mut under_way => anyhow::bail!("answered too early: {said:?}"),
        }
        match killed {
            "edge" => site.stack.edge_mut()?.restart()?,
            _ => site.stack.cloud.restart()?,
        }
        match under_way.await {
            Ok(said) => assert_eq!((killed, said.status), ("edge", 504), "{said:?}"),
            Err(_) => assert_eq!(killed, "cloud"),
        }
        program.take_its_time(false);
        works().await?;
        assert_eq!(program.bodies().iter().filter(|seen| *seen == body).count(), 1, "{killed}");
        program.take_its_time(true);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_no_message_and_loses_none_that_it_took() -> Result<()> {
    let (mut site, target) = (Site::on_a_small_disk("4m").await?, Server::start().await?);
    site.up("up", "room/t", &target)?;
    site.wanted(1, 0).await?;
    let mut sensor = Sensor::new("sensor", site.stack.mqtt_port());
    sensor.publish("default/room/t", "0", LIMIT).await?;
    eventually("it arrives", LIMIT, || async {
        if target.bodies() == ["0"] { Ok(()) } else { Err(target.bodies()) }
    })
    .await?;
    site.stack.link.set(Fault::Refuse);
    let filler = disk::fill(&site.stack.dir().join("disk"))?;
    let mut taken = vec!["0".to_owned()];
    let long = "x".repeat(4000);
    let mut refused = false;
    for number in 1..400 {
        let body = format!("{number} {long}");
        if sensor.publish("default/room/t", &body, Duration::from_secs(3)).await.is_err() {
            refused = true;
            break;
        }
        taken.push(body);
    }
    assert!(refused, "a full disk takes no more");
    assert!(site.stack.edge_mut()?.exited().is_none(), "edgecore lives on");
    std::fs::remove_file(filler)?;
    let mut sensor = Sensor::new("sensor", site.stack.mqtt_port());
    sensor.publish("default/room/t", "last", LIMIT).await?;
    taken.push("last".to_owned());
    site.stack.link.set(Fault::None);
    eventually("all that was taken arrives in order", LIMIT, || async {
        let mut bodies = target.bodies();
        // The one that was refused may have been sent again by the client.
        bodies.retain(|body| taken.contains(body));
        bodies.dedup();
        if bodies == taken { Ok(()) } else { Err(bodies.len()) }
    })
    .await
}
