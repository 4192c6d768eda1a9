//! TDengine over its REST interface, laid out as KubeEdge's framework does: a super table for each device, and in it a table for
//! each property.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::http::Poster;
use super::{NotTaken, Sample, target};

/// Where taosAdapter listens.
const REST: &str = "6041";
/// Bytes of the longest name of a table.
const LONGEST_NAME: usize = 192;
/// TDengine takes 1 MiB.
const LONGEST_STATEMENT: usize = 512 << 10;
/// Super tables that are remembered to be there.
const REMEMBERED: usize = 10_000;
/// What is wrong with a reading and not with the server: syntax (as a time that is none), wrong type, too long, no name, a time that
/// the database does not keep.
const OF_THE_READING: [u32; 7] = [0x0216, 0x060B, 0x2600, 0x2601, 0x2605, 0x2610, 0x2617];

/// A server's database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// `http://HOST:PORT`.
    url: String,
    database: String,
}

/// Which super tables are there.
#[derive(Default)]
pub(super) struct Tables(Mutex<HashSet<String>>);

/// What taosAdapter answers.
#[derive(Deserialize)]
struct Answer {
    code: u32,
    #[serde(default)]
    desc: String,
}

// === impl Server ===

impl Server {
    /// What KubeEdge's framework takes, `HOST:PORT`; also `HOST`, and URLs.
    pub(super) fn new(addr: &str, database: &str) -> Result<Self, &'static str> {
        let addr = addr.trim_end_matches('/');
        let (scheme, place) = addr.split_once("://").unwrap_or(("http", addr));
        let port = place.rsplit_once(':').filter(|_| !place.ends_with(']')).map(|(_, port)| port);
        if port == Some("6030") {
            return Err(
                "dbMethod.TDEngine by TDengine's native port 6030 (write addr: HOST:6041, that of taosAdapter)",
            );
        }
        if database.is_empty() {
            return Err("dbMethod.TDEngine without a dbName");
        }
        let url = match port {
            Some(_) => format!("{scheme}://{place}"),
            None => format!("{scheme}://{place}:{REST}"),
        };
        let usable = url.parse::<::http::Uri>().is_ok_and(|uri| {
            matches!(scheme, "http" | "https")
                && uri.path() == "/"
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.port_u16().is_some_and(|port| port > 0)
                && !place.contains(['@', '?', '#'])
        });
        if !usable {
            return Err("dbMethod.TDEngine at an addr that is not HOST:PORT, as tdengine:6041");
        }
        Ok(Self { url, database: database.to_owned() })
    }

    /// Sends readings. What is sent twice is there once: a table has one row for each time.
    pub(super) async fn send(
        &self,
        poster: &Poster,
        tables: &Tables,
        samples: &[Sample],
    ) -> Result<(), NotTaken> {
        let statements = inserts(samples)?;
        for sample in samples {
            let table = super_table(sample);
            if !tables.has(self, &table) {
                // Nothing here is of the reading: whatever is wrong, people mend it.
                let made = self.ask(poster, made(&table)).await;
                made.map_err(|error| NotTaken::Passing(error.to_string()))?;
                tables.remember(self, &table);
            }
        }
        for statement in statements {
            let done = self.ask(poster, statement).await;
            if done.is_err() {
                // Somebody may have dropped one.
                tables.forget();
            }
            done?;
        }
        Ok(())
    }

    async fn ask(&self, poster: &Poster, sql: String) -> Result<(), NotTaken> {
        let url = format!("{}/rest/sql/{}", self.url, target::escaped(&self.database));
        let user = std::env::var("USERNAME").unwrap_or_default();
        let login = basic(&user, &super::password().unwrap_or_default());
        let (status, answer) = poster.ask(&url, "text/plain; charset=utf-8", Some(&login), sql).await?;
        self.judged(status, &answer)
    }

    fn judged(&self, status: u16, answer: &[u8]) -> Result<(), NotTaken> {
        let Ok(Answer { code, desc }) = serde_json::from_slice(answer) else {
            let hint = match status {
                401 | 403 => LOGIN,
                _ => "; that is no answer of taosAdapter: is it its port, 6041?",
            };
            return Err(NotTaken::Passing(format!("{self}: status {status}{hint}")));
        };
        // Some versions say them with the bit of errors.
        let code = code & 0xFFFF;
        let hint = match code {
            0 if status < 300 => return Ok(()),
            0x0357 => LOGIN,
            0x0388 | 0x2616 => "; make it, or correct TDEngineClientConfig.dbName",
            0x2610 => {
                "; a column is too narrow: ALTER STABLE `NAMESPACE/DEVICE` MODIFY COLUMN data BINARY(4096)"
            }
            _ => "",
        };
        let why = format!("{self}: {desc} (0x{code:04X}){hint}");
        Err(if OF_THE_READING.contains(&code) { NotTaken::Refused(why) } else { NotTaken::Passing(why) })
    }
}

const LOGIN: &str =
    "; the user and the password are the mapper's environment variables USERNAME and PASSWORD";

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tdengine {}/{}", self.url, self.database)
    }
}

// === impl Tables ===

impl Tables {
    fn has(&self, server: &Server, table: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&format!("{server} {table}"))
    }

    fn remember(&self, server: &Server, table: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(format!("{server} {table}"));
    }

    fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The framework's columns and its tag, by its spelling; its 64 bytes are too few for what devices say.
fn made(table: &str) -> String {
    format!(
        "CREATE STABLE IF NOT EXISTS `{table}` (`ts` TIMESTAMP, `deviceid` BINARY(512), `propertyname` BINARY(256), \
         `data` BINARY(4096), `type` BINARY(64)) TAGS (`localtion` BINARY(256))"
    )
}

/// All of them, in as few statements as they fit in.
fn inserts(samples: &[Sample]) -> Result<Vec<String>, NotTaken> {
    let mut tables: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    for sample in samples {
        let Sample { namespace, device, property, kind, value, .. } = sample;
        let row = format!(
            "({},{},{},{},{})",
            text(&time(sample))?,
            text(&format!("{namespace}/{device}"))?,
            text(property)?,
            text(value)?,
            text(kind)?
        );
        let into = format!(
            " `{}` USING `{}` (`localtion`) TAGS ({}) (`ts`,`deviceid`,`propertyname`,`data`,`type`) VALUES",
            table(sample),
            super_table(sample),
            text(&property.replace('-', "_"))?
        );
        if into.len() + row.len() > LONGEST_STATEMENT {
            return Err(NotTaken::Refused(format!("{} bytes are too many for TDengine", row.len())));
        }
        tables.entry(table(sample)).or_insert_with(|| (into, Vec::new())).1.push(row);
    }
    let mut all = Vec::new();
    let mut statement = String::new();
    for (into, rows) in tables.into_values() {
        let mut begun = false;
        for row in rows {
            if statement.len() + into.len() + row.len() > LONGEST_STATEMENT {
                all.push(std::mem::take(&mut statement));
                begun = false;
            }
            if statement.is_empty() {
                statement.push_str("INSERT INTO");
            }
            if !std::mem::replace(&mut begun, true) {
                statement.push_str(&into);
            }
            statement.push(' ');
            statement.push_str(&row);
        }
    }
    all.extend(Some(statement).filter(|statement| !statement.is_empty()));
    Ok(all)
}

/// With its zone, so that neither the server's nor the database's precision matters.
fn time(sample: &Sample) -> String {
    let at = jiff::Timestamp::from_millisecond(sample.at_ms).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// `NAMESPACE/DEVICE` with `_` for `-`, as the framework has it.
fn super_table(sample: &Sample) -> String {
    let name = format!("{}/{}", plain(&sample.namespace), plain(&sample.device));
    if name.len() <= LONGEST_NAME { name } else { told_apart(name, sample) }
}

/// `NAMESPACE/DEVICE/PROPERTY`: the framework's `PROPERTY` alone would be the same table for all devices.
fn table(sample: &Sample) -> String {
    let Sample { namespace, device, property, .. } = sample;
    let name = format!("{}/{}/{}", plain(namespace), plain(device), named(property, "_-"));
    // Other names that look the same must not share a table, where one's row replaces the other's.
    let exact = named(namespace, "-") == *namespace
        && named(device, "-") == *device
        && named(property, "_-") == *property
        && name.len() <= LONGEST_NAME;
    if exact { name } else { told_apart(name, sample) }
}

fn told_apart(mut name: String, sample: &Sample) -> String {
    let Sample { namespace, device, property, .. } = sample;
    let sum = Sha256::digest(format!("{namespace}/{device}/{property}"));
    let sum: String = sum.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    name.truncate(LONGEST_NAME - 1 - sum.len());
    format!("{name}/{sum}")
}

fn plain(name: &str) -> String {
    named(name, "")
}

/// Letters, digits and `also`; `_` for the rest. TDengine has no way to write a backquote in a name, and lets no dot be in one.
fn named(name: &str, also: &str) -> String {
    name.chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || also.contains(letter) { letter } else { '_' })
        .collect()
}

/// Quoted.
fn text(text: &str) -> Result<String, NotTaken> {
    if text.contains('\0') {
        return Err(NotTaken::Refused("TDengine takes no text with a zero byte".into()));
    }
    Ok(format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")))
}

#[cfg(test)]
mod tests;
