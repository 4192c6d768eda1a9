//! Readings into databases: real servers that are away, refuse, die and come back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Daemon, EdgeOptions, Stack, StackOptions, binary, eventually, free_ports};

const LIMIT: Duration = Duration::from_secs(60);
const BOILER: &str = include_str!("../../../deploy/samples/modbus-boiler.yaml");
const PASSWORD: &str = "s3cret'\"\\";
const TABLE: &str = "`default/boiler-1/temperature`";

fn boiler(stack: &Stack, port: u16) -> Result<Daemon> {
    let python = std::env::var("CLIENT_PYTHON").context("tests/run.sh says where the Python clients are")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/boiler.py");
    let args = [&*script.to_string_lossy(), &port.to_string()];
    Daemon::start("boiler", Path::new(&python), &args, &stack.dir().join("boiler.log"))
}

/// A mapper that knows the databases' password, and shows its counts at `metrics`.
fn mapper(stack: &Stack, metrics: u16) -> Result<Daemon> {
    let password = format!("PASSWORD={PASSWORD}");
    let program = binary("modbus-mapper")?.to_string_lossy().into_owned();
    let below = |path: &str| stack.dir().join(path).to_string_lossy().into_owned();
    let (socket, buffer) = (below("edge/dmi.sock"), below("push.db"));
    let metrics = format!("127.0.0.1:{metrics}");
    let args = [
        password.as_str(),
        &program,
        "--edgecore-socket",
        &socket,
        "--buffer",
        &buffer,
        "--metrics",
        &metrics,
    ];
    Daemon::start("modbus-mapper", Path::new("/usr/bin/env"), &args, &stack.dir().join("mapper.log"))
}

/// One count of the mapper; what it does not show is 0.
fn count(metrics: u16, name: &str) -> Result<i64> {
    let mut stream = TcpStream::connect(("127.0.0.1", metrics))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    #[allow(clippy::disallowed_methods, reason = "it has a cap")]
    stream.take(1 << 20).read_to_string(&mut page)?;
    ensure!(page.contains("mapper_push_waiting"), "{page}");
    let found = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    Ok(found.unwrap_or(0))
}

async fn counts(metrics: u16, name: &str, least: i64) -> Result<()> {
    eventually(&format!("{name} is {least} or more"), LIMIT, || async {
        match count(metrics, name) {
            Ok(found) if found >= least => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

fn redis(stack: &Stack, port: u16, password: &str) -> Result<Daemon> {
    let args = [
        "--port",
        &port.to_string(),
        "--requirepass",
        password,
        "--dir",
        &stack.dir().to_string_lossy(),
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ];
    Daemon::start("redis-server", Path::new("/usr/bin/redis-server"), &args, &stack.dir().join("redis.log"))
}

fn ask_redis(port: u16, args: &[&str]) -> Result<String> {
    let port = port.to_string();
    let asked = Command::new("redis-cli")
        .args([&["-p", &port, "-n", "2", "--no-auth-warning", "-a", PASSWORD], args].concat())
        .output()?;
    Ok(String::from_utf8(asked.stdout)?)
}

fn mariadb(stack: &Stack, port: u16) -> Result<Daemon> {
    let data = stack.dir().join("mariadb");
    let data_arg = format!("--datadir={}", data.display());
    if !data.exists() {
        let made = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--user=root", "--auth-root-authentication-method=socket", &data_arg])
            .output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let socket = format!("--socket={}", data.join("s").display());
    let port = format!("--port={port}");
    let args = ["--no-defaults", "--user=root", "--bind-address=127.0.0.1", &data_arg, &socket, &port];
    Daemon::start("mariadbd", Path::new("/usr/sbin/mariadbd"), &args, &stack.dir().join("mariadb.log"))
}

fn ask_mariadb(stack: &Stack, sql: &str) -> Result<String> {
    let socket = format!("--socket={}", stack.dir().join("mariadb/s").display());
    let asked = Command::new("mariadb").args(["--no-defaults", "-N", "-B", &socket, "-e", sql]).output()?;
    ensure!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    Ok(String::from_utf8(asked.stdout)?)
}

/// When each reading in the device's set was read, and the first as it is.
fn members(redis: u16) -> Result<(Vec<i64>, serde_json::Value)> {
    let all = ask_redis(redis, &["ZRANGE", "boiler-1", "0", "-1"])?;
    let all: Vec<serde_json::Value> =
        all.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let times = all.iter().filter_map(|one| one["TimeStamp"].as_i64()).collect();
    Ok((times, all.first().cloned().unwrap_or_default()))
}

async fn says(mapper: &Daemon, text: &str) -> Result<()> {
    eventually(&format!("the log says {text}"), LIMIT, || async {
        if mapper.output().contains(text) { Ok(()) } else { Err(mapper.tail()) }
    })
    .await
}

#[tokio::test]
async fn readings_get_into_redis_and_mariadb_through_outages_and_kills_of_everything() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    let [port, metrics, at_redis, at_mariadb] = free_ports()?;
    let _boiler = boiler(&stack, port)?;
    let mut mapper = mapper(&stack, metrics)?;
    let push = format!(
        r#"reportCycle: 200
    pushMethod:
      dbMethod:
        redis:
          redisClientConfig: {{addr: "127.0.0.1:{at_redis}", db: 2, poolsize: 4, minIdleConns: 1}}
        mysql:
          mysqlClientConfig: {{addr: "127.0.0.1:{at_mariadb}", database: plant, userName: edge}}
        TDEngine:
          TDEngineClientConfig: {{addr: "127.0.0.1:6030", dbName: plant}}
    collectCycle: 200
    reportToCloud: true
    visitors:
      configData: {{offset: 4}}"#
    );
    let plain = "collectCycle: 1000\n    reportToCloud: true\n    visitors:\n      configData: {offset: 4}     # this one has it elsewhere than others of its model";
    ensure!(BOILER.contains(plain), "the sample has the property that is pushed");
    stack.apply(&BOILER.replace("port: 502", &format!("port: {port}")).replace(plain, &push))?;
    says(&mapper, "write addr: HOST:6041").await?;

    // Nobody is there, and the mapper dies.
    counts(metrics, "mapper_push_waiting", 12).await?;
    mapper.kill();
    mapper.restart()?;
    counts(metrics, "mapper_push_waiting", 20).await?;
    ensure!(count(metrics, "mapper_push_waiting_bytes")? > 20 * 50);

    // A password that is not the mapper's is said; with the right one everything arrives.
    let mut cache = redis(&stack, at_redis, "other")?;
    says(&mapper, "environment variable PASSWORD").await?;
    cache.kill();
    let mut cache = redis(&stack, at_redis, PASSWORD)?;
    let mut database = mariadb(&stack, at_mariadb)?;
    eventually("mariadb is there", LIMIT, || async {
        ask_mariadb(&stack, "SELECT 1").map_err(|error| error.to_string())
    })
    .await?;
    let quoted = PASSWORD.replace('\\', r"\\").replace('\'', "''");
    let grant = format!(
        "CREATE USER edge@'127.0.0.1' IDENTIFIED BY '{quoted}'; GRANT ALL ON plant.* TO edge@'127.0.0.1'"
    );
    ask_mariadb(&stack, &format!("CREATE DATABASE plant; {grant}"))?;
    let rows = || -> Result<i64> {
        Ok(ask_mariadb(&stack, &format!("SELECT count(*) FROM plant.{TABLE}"))?.trim().parse()?)
    };
    let arrived = async |least: i64| {
        eventually("readings arrive in both", LIMIT, || async {
            let found = || Ok::<_, anyhow::Error>((members(at_redis)?.0.len() as i64, rows()?));
            match found() {
                Ok((members, rows)) if members >= least && rows >= least => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    };
    arrived(20).await?;
    let (_, first) = members(at_redis)?;
    ensure!(
        first["DeviceName"] == "boiler-1"
            && first["Namespace"] == "default"
            && first["PropertyName"] == "temperature"
            && first["Value"].as_str().is_some_and(|value| value.parse::<f64>().is_ok())
            && first["Type"].as_str().is_some_and(|kind| !kind.is_empty()),
        "{first}"
    );

    // Both die; what is read meanwhile arrives when they are back, and nothing is missing in between.
    let before = count(metrics, "mapper_push_waiting")?;
    cache.kill();
    database.kill();
    counts(metrics, "mapper_push_waiting", before + 40).await?;
    cache.restart()?;
    database.restart()?;
    let least = rows_after(&stack, &rows).await? + 20;
    arrived(least).await?;
    let (times, _) = members(at_redis)?;
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    ensure!(longest < 3_000, "{longest} ms are missing: {times:?}");
    let unordered =
        format!("SELECT count(*) FROM plant.{TABLE} a JOIN plant.{TABLE} b ON b.id > a.id AND b.ts < a.ts");
    ensure!(ask_mariadb(&stack, &unordered)?.trim() == "0", "the rows are not in order");
    ensure!(count(metrics, "mapper_push_dropped_total{reason=\"buffer_full\"}")? == 0);
    ensure!(count(metrics, "mapper_push_dropped_total{reason=\"refused\"}")? == 0);

    // Somebody uses the device's key for something else: those readings are refused, said and counted.
    ask_redis(at_redis, &["SET", "boiler-1", "mine"])?;
    counts(metrics, "mapper_push_dropped_total{reason=\"refused\"}", 1).await?;
    says(&mapper, "WRONGTYPE").await?;
    ensure!(mapper.exited().is_none(), "{}", mapper.tail());
    Ok(())
}

/// How many rows there are as soon as the server can say it.
async fn rows_after(stack: &Stack, rows: &impl Fn() -> Result<i64>) -> Result<i64> {
    eventually("mariadb is back", LIMIT, || async {
        ask_mariadb(stack, "SELECT 1").map_err(|error| error.to_string())
    })
    .await?;
    rows()
}
