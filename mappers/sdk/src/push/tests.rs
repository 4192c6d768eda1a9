//! Real servers that are away, die and come back, and readings that they refuse.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

/// Killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> Server {
    Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it is installed"))
}

fn redis(at: &Path, port: u16) -> Server {
    let port = port.to_string();
    let args =
        ["--bind", "127.0.0.1", "--port", &port, "--appendonly", "yes", "--appendfsync", "always", "--dir"];
    start(Command::new("redis-server").args(args).arg(at))
}

fn mariadb(at: &Path, port: u16) -> Server {
    let data = at.join("mariadb");
    let data_arg = format!("--datadir={}", data.display());
    if !data.exists() {
        let mut make = Command::new("mariadb-install-db");
        make.args(["--no-defaults", "--user=root", "--auth-root-authentication-method=normal", &data_arg]);
        assert!(make.output().unwrap().status.success());
    }
    let socket = format!("--socket={}", data.join("s").display());
    let port = format!("--port={port}");
    start(Command::new("/usr/sbin/mariadbd").args([
        "--no-defaults",
        "--user=root",
        "--bind-address=127.0.0.1",
        &data_arg,
        &socket,
        &port,
    ]))
}

/// What the program prints; nothing while its server is away.
fn ask(program: &str, args: &[&str]) -> String {
    String::from_utf8(Command::new(program).args(args).output().unwrap().stdout).unwrap().trim().to_owned()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn sample(device: &str, at_ms: i64) -> Sample {
    Sample {
        namespace: "plant".into(),
        device: device.into(),
        property: "t'`é".into(),
        kind: "float".into(),
        value: format!("{at_ms}'\"\\é"),
        at_ms,
    }
}

async fn eventually(what: &str, mut is: impl FnMut() -> Result<(), String>) {
    let end = Instant::now() + Duration::from_secs(60);
    while let Err(found) = is() {
        assert!(Instant::now() < end, "{what}: {found}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn equal(found: &str, wanted: &str) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{found:?}, not {wanted:?}")) }
}

#[tokio::test]
async fn readings_get_into_redis_and_mariadb_while_they_come_and_go_and_one_that_is_refused_stops_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (at_redis, at_mariadb) = (free_port(), free_port());
    let targets = [
        Target::Redis(redis::Server { addr: format!("127.0.0.1:{at_redis}"), db: 2 }),
        Target::MySql(mysql::Server {
            addr: format!("127.0.0.1:{at_mariadb}"),
            database: "test".into(),
            user: "root".into(),
        }),
    ];
    let port = at_redis.to_string();
    let in_redis = |args: &[&str]| ask("redis-cli", &[&["-p", &port, "-n", "2"], args].concat());
    let socket = format!("--socket={}", at.join("mariadb/s").display());
    let in_mariadb = |sql: &str| {
        let args = ["--no-defaults", "--default-character-set=utf8mb4", "-N", "-B", &socket, "-e", sql];
        ask("mariadb", &args)
    };
    let rows = || in_mariadb("SELECT count(*), count(DISTINCT field) FROM test.`plant/boiler/t'``é`");

    let push = Push::new(at.join("push.db"));
    let take = async |device: &str, from: i64, to: i64| {
        for at_ms in from..to {
            for target in &targets {
                push.take(target, sample(device, at_ms)).await;
            }
        }
    };
    take("boiler", 0, 300).await;
    let mut servers = (self::redis(at, at_redis), self::mariadb(at, at_mariadb));
    eventually("redis has all", || equal(&in_redis(&["ZCARD", "boiler"]), "300")).await;
    eventually("mariadb has all", || equal(&rows(), "300\t300")).await;
    let first: serde_json::Value = serde_json::from_str(&in_redis(&["ZRANGE", "boiler", "0", "0"])).unwrap();
    let wanted = serde_json::json!({
        "DeviceName": "boiler", "PropertyName": "t'`é", "Namespace": "plant",
        "Value": "0'\"\\é", "Type": "float", "TimeStamp": 0,
    });
    assert_eq!(first, wanted);

    // Killed; what comes meanwhile waits, and each is there once: nothing was on its way.
    drop(servers);
    take("boiler", 300, 600).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    servers = (self::redis(at, at_redis), self::mariadb(at, at_mariadb));
    eventually("redis has all", || equal(&in_redis(&["ZCARD", "boiler"]), "600")).await;
    eventually("mariadb has all", || equal(&rows(), "600\t600")).await;

    // A key that is something else, a name that is too long for a table: between others that are taken.
    in_redis(&["SET", "broken", "mine"]);
    let long = "x".repeat(70);
    take("boiler", 600, 610).await;
    take("broken", 0, 1).await;
    take(&long, 0, 1).await;
    take("boiler", 610, 620).await;
    eventually("redis has the others", || equal(&in_redis(&["ZCARD", "boiler"]), "620")).await;
    eventually("mariadb has the others", || equal(&rows(), "620\t620")).await;
    eventually("all is done", || {
        let page = push.counts().page();
        if page.contains("mapper_push_waiting 0\n") { Ok(()) } else { Err(page) }
    })
    .await;
    let page = push.counts().page();
    assert!(page.contains("mapper_push_dropped_total{reason=\"refused\"} 2\n"), "{page}");
    assert!(page.contains("mapper_push_readings_total 1242\n"), "{page}");
    push.end().await;
    drop(servers);
}
