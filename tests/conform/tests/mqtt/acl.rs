//! Who may read and write which topics, and whose a session is. With mosquitto's own tools and its form of the rules.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::broker::Broker;
use crate::doors::{add_user, run};

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

/// Runs one of mosquitto's clients as `user`, whose password is its name; all that it says, or that and that it failed.
async fn client(program: &str, broker: &Broker, user: &str, args: &[&str]) -> Result<String, String> {
    let port = broker.port.to_string();
    let common = ["-p", &port, "-q", "1", "-u", user, "-P", user];
    let output = run(program, &[&common, args].concat()).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// What it says, whether it takes that for a failure or not.
async fn says(program: &str, broker: &Broker, user: &str, args: &[&str]) -> String {
    client(program, broker, user, args).await.unwrap_or_else(|said| said)
}

async fn publish(broker: &Broker, user: &str, version: &str, topic: &str) -> String {
    says("mosquitto_pub", broker, user, &["-V", version, "-t", topic, "-m", topic]).await
}

/// Makes a lasting session of client `id`, or goes on with it.
async fn lasts(broker: &Broker, user: &str, version: &str, id: &str) -> Result<String, String> {
    let args = ["-V", version, "-i", id, "-c", "-t", "all/#", "-E"];
    client("mosquitto_sub", broker, user, &[&args[..], lasting(version)].concat()).await
}

fn lasting(version: &str) -> &'static [&'static str] {
    if version == "mqttv5" { &["-x", "1000"] } else { &[] }
}

fn is_not_authorized(said: &Result<String, String>) -> bool {
    said.as_ref().is_err_and(|said| said.to_lowercase().contains("not authori"))
}

async fn with_rules(rules: &str) -> Broker {
    let directory = tempfile::tempdir().unwrap();
    for user in ["ada", "grace"] {
        add_user(&directory.path().join("passwd"), user, user).await;
    }
    Broker::silent(|at, port, _| {
        std::fs::copy(directory.path().join("passwd"), at.join("passwd")).unwrap();
        std::fs::write(at.join("acl"), rules).unwrap();
        json!({
            "mqttServerInternal": format!("tcp://127.0.0.1:{port}"),
            "mqttPasswordFile": at.join("passwd"),
            "mqttAclFile": at.join("acl"),
        })
    })
    .await
}

async fn rewrite(file: &Path, rules: &str) {
    std::fs::write(file, rules).unwrap();
    // It is looked at once a second.
    tokio::time::sleep(Duration::from_millis(1500)).await;
}

const RULES: &str = "user ada\ntopic write orders/#\ntopic deny orders/secret\n\
                     user grace\ntopic read orders/#\ntopic readwrite all/#\n\
                     pattern readwrite own/%u/%c\n";

#[tokio::test]
async fn users_read_and_write_what_the_rules_say() {
    let mut broker = with_rules(RULES).await;
    broker.says("listens").await;
    broker.listens().await;
    for version in VERSIONS {
        let args = ["-V", version, "-t", "#", "-C", "2", "-W", "30", "-i", "g"];
        let reader = client("mosquitto_sub", &broker, "grace", &args);
        let writer = async {
            // Until it has subscribed.
            tokio::time::sleep(Duration::from_secs(1)).await;
            // Not for grace to read, or not for ada to write.
            for topic in ["own/ada/a", "orders/secret", "elsewhere", "own/grace/g"] {
                let args = ["-V", version, "-i", "a", "-t", topic, "-m", topic];
                let said = says("mosquitto_pub", &broker, "ada", &args).await;
                let refused = version == "mqttv5" && topic != "own/ada/a";
                assert_eq!(said.contains("Not authorized"), refused, "{version} {topic}: {said}");
            }
            for topic in ["orders/1", "orders/2"] {
                assert_eq!(publish(&broker, "ada", version, topic).await, "");
            }
        };
        let (heard, ()) = tokio::join!(reader, writer);
        assert_eq!(heard.unwrap(), "orders/1\norders/2\n", "{version}");
        // What could bring nothing is refused.
        let args = ["-V", version, "-t", "orders/#", "-W", "5"];
        let said = says("mosquitto_sub", &broker, "ada", &args).await;
        assert!(said.contains("denied"), "{version}: {said}");
        let args = ["-V", version, "-t", "own/ada/x", "-i", "x", "-E", "--will-topic", "elsewhere"];
        assert!(is_not_authorized(&client("mosquitto_sub", &broker, "ada", &args).await));
    }
    assert!(broker.log().contains("mqttAclFile"), "{}", broker.log());
    // Retained messages are read by the same rules.
    for topic in ["all/kept", "own/grace/k"] {
        let args = ["-i", "k", "-t", topic, "-m", topic, "-r"];
        client("mosquitto_pub", &broker, "grace", &args).await.unwrap();
    }
    let args = ["-t", "#", "-C", "1", "-W", "10", "-i", "other"];
    assert_eq!(client("mosquitto_sub", &broker, "grace", &args).await.unwrap(), "all/kept\n");

    // Other rules, without a restart; and such as are none.
    rewrite(&broker.path("acl"), "user ada\ntopic write elsewhere\nuser grace\ntopic read elsewhere\n").await;
    let said = publish(&broker, "ada", "mqttv5", "orders/3").await;
    assert!(said.contains("Not authorized"), "{said}");
    rewrite(&broker.path("acl"), "user ada\ntopic schreiben elsewhere\n").await;
    broker.says("acl:2: \"schreiben\" is none of read, write, readwrite, deny").await;
    assert_eq!(publish(&broker, "ada", "mqttv5", "elsewhere").await, "");
    assert_eq!(broker.log().matches("acl:2:").count(), 1, "it is said once");
    // At the start there is nothing to go on with.
    broker.kill();
    std::fs::write(broker.path("log"), "").unwrap();
    broker.run();
    broker.says("acl:2: \"schreiben\"").await;
}

#[tokio::test]
async fn a_session_is_its_users() {
    let mut broker = with_rules("user ada\ntopic all/#\nuser grace\ntopic all/#\n").await;
    broker.listens().await;
    for version in VERSIONS {
        let id = format!("session-{version}");
        lasts(&broker, "ada", version, &id).await.unwrap();
        for killed in [false, true] {
            if killed {
                broker.kill();
                broker.up().await;
            }
            let stranger = lasts(&broker, "grace", version, &id).await;
            assert!(is_not_authorized(&stranger), "{version} {stranger:?}");
            // Nor does a clean start take it away.
            let args = ["-V", version, "-i", &id, "-t", "all/x", "-m", "x"];
            let stranger = client("mosquitto_pub", &broker, "grace", &args).await;
            assert!(is_not_authorized(&stranger), "{version} {stranger:?}");
            assert_eq!(publish(&broker, "grace", version, "all/1").await, "");
            let args = ["-V", version, "-i", &id, "-c", "-t", "all/#", "-C", "1", "-W", "10"];
            let args = [&args[..], lasting(version)].concat();
            let heard = client("mosquitto_sub", &broker, "ada", &args).await.unwrap();
            assert_eq!(heard, "all/1\n", "{version}");
        }
    }
}
