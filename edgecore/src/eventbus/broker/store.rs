//! mqtt.db: lasting sessions, what is on its way in them, and retained messages. It is made with the first of these:
//! most nodes have none.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mqtt_proto::Pid;
use mqtt_proto::v5::{RetainHandling, SubscriptionOptions, VarByteInt};
use sqlx::{Row as _, SqliteConnection};
use tracing::error;

use super::Limits;
use super::filter::Filter;
use super::journal::{Batch, Change, Ticket};
use super::message::Message;
use super::router::{StoredWill, Will};
use super::session::{Clock, Delivery, Session, Subscription};
use sqlite::{Durability, Lazy, OpenError, Options, Transaction};

/// See [`Options::steps`].
const STEPS: &[&str] = &["
    -- `expiry`: seconds that a session outlives its connection; `left`: Unix milliseconds, NULL while connected.
    CREATE TABLE sessions (client TEXT PRIMARY KEY, expiry INTEGER NOT NULL, left INTEGER) WITHOUT ROWID;
    -- `options` as in a SUBSCRIBE of MQTT 5.
    CREATE TABLE subscriptions (
        client TEXT NOT NULL, filter TEXT NOT NULL, options INTEGER NOT NULL, identifier INTEGER,
        PRIMARY KEY (client, filter)
    ) WITHOUT ROWID;
    -- `packet` is the PUBLISH of MQTT 5.
    CREATE TABLE deliveries (
        seq INTEGER PRIMARY KEY, client TEXT NOT NULL, pid INTEGER NOT NULL, released INTEGER NOT NULL DEFAULT 0,
        packet BLOB NOT NULL, expires INTEGER, share TEXT
    );
    CREATE UNIQUE INDEX delivery ON deliveries (client, pid);
    CREATE TABLE received (client TEXT NOT NULL, pid INTEGER NOT NULL, PRIMARY KEY (client, pid)) WITHOUT ROWID;
    CREATE TABLE retained (topic TEXT PRIMARY KEY, packet BLOB NOT NULL, expires INTEGER) WITHOUT ROWID;
", "
    -- What is to be said `delay` seconds after its client went: `left`, Unix milliseconds; NULL while connected.
    CREATE TABLE wills (
        number INTEGER PRIMARY KEY, client TEXT NOT NULL, delay INTEGER NOT NULL, left INTEGER, packet BLOB NOT NULL
    );
", "
    -- Who may go on with it; NULL: nobody had to log in when it was made.
    ALTER TABLE sessions ADD COLUMN user TEXT;
", "
    -- Clients were told, in the transaction that has what waits for them of it.
    ALTER TABLE wills ADD COLUMN said INTEGER NOT NULL DEFAULT 0;
"];

const EMPTY: &str = "
    DELETE FROM sessions; DELETE FROM subscriptions; DELETE FROM deliveries; DELETE FROM received; DELETE FROM retained;
    DELETE FROM wills;
";

/// Why something could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, mostly.
    #[error("mqtt.db failed: {0}")]
    Sql(#[from] sqlx::Error),
    /// The file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// What the disk had.
#[derive(Debug, Default)]
pub(super) struct Restored {
    /// With how long their clients have been away; `None`: they were connected when the process ended.
    pub(super) sessions: Vec<(Session, Option<Duration>)>,
    pub(super) retained: Vec<(Arc<str>, Message)>,
    /// Oldest first.
    pub(super) wills: Vec<StoredWill>,
    /// The newest change on disk.
    pub(super) last: Ticket,
}

/// The file, open once it is needed.
#[derive(Debug)]
pub(super) struct Store(Lazy);

impl Store {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Lazy::new(Options { path, steps: STEPS, durability: Durability::Full }))
    }

    /// A damaged file is moved aside when it is opened again.
    pub(super) async fn close(&mut self) {
        self.0.close().await;
    }

    /// Reads everything. A row that makes no sense is left out, with a word in the log.
    pub(super) async fn read(&mut self, limits: &Limits) -> Result<Restored, StoreError> {
        if !self.0.exists() {
            return Ok(Restored::default());
        }
        let pool = self.0.pool().await?;
        let clock = Clock::read();
        let mut sessions: Vec<(Session, Option<Duration>)> = Vec::new();
        let mut places = HashMap::new();
        // Who is away for longest first: it is the first to be forgotten.
        let rows = sqlx::query("SELECT * FROM sessions ORDER BY left IS NULL, left");
        for row in rows.fetch_all(&pool).await? {
            let client: String = row.try_get("client")?;
            let left: Option<i64> = row.try_get("left")?;
            let user: Option<String> = row.try_get("user")?;
            let session =
                Session::stored(client.as_str().into(), user.map(Into::into), row.try_get("expiry")?, left);
            places.insert(client, sessions.len());
            sessions.push((session, away(left, clock)));
        }
        for row in sqlx::query("SELECT * FROM subscriptions").fetch_all(&pool).await? {
            let (client, filter): (String, String) = (row.try_get("client")?, row.try_get("filter")?);
            let identifier: Option<u32> = row.try_get("identifier")?;
            match (
                of(&mut sessions, &places, &client),
                subscription(&filter, row.try_get("options")?, identifier),
            ) {
                (Some(session), Some(subscription)) => session.subscriptions.push(subscription),
                _ => error!(client, filter, "a stored subscription makes no sense: it is left out"),
            }
        }
        let mut last = 0;
        for row in sqlx::query("SELECT * FROM deliveries ORDER BY seq").fetch_all(&pool).await? {
            let (seq, client): (i64, String) = (row.try_get("seq")?, row.try_get("client")?);
            let (pid, packet): (u16, Vec<u8>) = (row.try_get("pid")?, row.try_get("packet")?);
            last = seq.unsigned_abs();
            if row.try_get("released")? {
                if let (Some(session), Ok(pid)) = (of(&mut sessions, &places, &client), Pid::try_from(pid)) {
                    session.restore_released(pid);
                }
                continue;
            }
            let message = Message::restored(&packet, row.try_get("expires")?, clock.now, clock.unix_ms);
            let share: Option<String> = row.try_get("share")?;
            match (of(&mut sessions, &places, &client), Pid::try_from(pid), message) {
                (Some(session), Ok(pid), Some((message, to))) => {
                    let delivery = Delivery {
                        qos: to.qos_pid.qos(),
                        retain: to.retain,
                        subscription: to.subscription,
                        share: share.map(Into::into),
                        message,
                    };
                    session.restore(pid, delivery, limits.in_flight);
                }
                _ => error!(client, pid, "a stored message makes no sense: it is left out"),
            }
        }
        for row in sqlx::query("SELECT * FROM received").fetch_all(&pool).await? {
            let (client, pid): (String, u16) = (row.try_get("client")?, row.try_get("pid")?);
            if let (Some(session), Ok(pid)) = (of(&mut sessions, &places, &client), Pid::try_from(pid)) {
                session.restore_received(pid);
            }
        }
        let mut retained = Vec::new();
        for row in sqlx::query("SELECT * FROM retained").fetch_all(&pool).await? {
            let (topic, packet): (String, Vec<u8>) = (row.try_get("topic")?, row.try_get("packet")?);
            match Message::restored(&packet, row.try_get("expires")?, clock.now, clock.unix_ms) {
                Some((message, _)) => retained.push((topic.into(), message)),
                None => error!(topic, "a stored retained message makes no sense: it is left out"),
            }
        }
        let mut wills = Vec::new();
        for row in sqlx::query("SELECT * FROM wills ORDER BY number").fetch_all(&pool).await? {
            let (number, client): (i64, String) = (row.try_get("number")?, row.try_get("client")?);
            let (delay, packet): (u32, Vec<u8>) = (row.try_get("delay")?, row.try_get("packet")?);
            match Message::restored(&packet, None, clock.now, clock.unix_ms) {
                Some((message, _)) => wills.push(StoredWill {
                    number: number.unsigned_abs(),
                    client: client.into(),
                    will: Will { message, delay: Duration::from_secs(delay.into()) },
                    away: away(row.try_get("left")?, clock),
                    said: row.try_get("said")?,
                }),
                None => error!(client, "a stored will makes no sense: it is left out"),
            }
        }
        Ok(Restored { sessions, retained, wills, last })
    }

    /// All of it, or nothing. On disk when it returns.
    pub(super) async fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut transaction = Transaction::begin(&self.0.pool().await?).await?;
        if batch.anew {
            sqlx::raw_sql(EMPTY).execute(&mut *transaction).await?;
        }
        let first = batch.last.saturating_sub(batch.changes.len() as u64);
        for (change, seq) in batch.changes.iter().zip(first + 1..) {
            write(&mut transaction, change, i64::try_from(seq).unwrap_or(i64::MAX)).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// How long somebody has been away who left at `left`. A clock that was set back makes it no time at all.
fn away(left: Option<i64>, clock: Clock) -> Option<Duration> {
    left.map(|left| Duration::from_millis(clock.unix_ms.saturating_sub(left).max(0).unsigned_abs()))
}

fn of<'a>(
    sessions: &'a mut [(Session, Option<Duration>)],
    places: &HashMap<String, usize>,
    client: &str,
) -> Option<&'a mut Session> {
    let place = places.get(client)?;
    sessions.get_mut(*place).map(|(session, _)| session)
}

async fn write(to: &mut SqliteConnection, change: &Change, seq: i64) -> Result<(), sqlx::Error> {
    let query = match change {
        Change::Session { client, user, expiry, left } => {
            sqlx::query("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?)")
                .bind(&**client)
                .bind(expiry)
                .bind(left)
                .bind(user.as_deref())
        }
        Change::Forgotten { client } => {
            for table in [
                "DELETE FROM sessions WHERE client = ?",
                "DELETE FROM subscriptions WHERE client = ?",
                "DELETE FROM deliveries WHERE client = ?",
                "DELETE FROM received WHERE client = ?",
            ] {
                sqlx::query(table).bind(&**client).execute(&mut *to).await?;
            }
            return Ok(());
        }
        Change::Subscribed { client, subscription } => {
            sqlx::query("INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?, ?)")
                .bind(&**client)
                .bind(&*subscription.text)
                .bind(subscription.options.to_u8())
                .bind(subscription.identifier.map(VarByteInt::value))
        }
        Change::Unsubscribed { client, filter } => {
            sqlx::query("DELETE FROM subscriptions WHERE client = ? AND filter = ?")
                .bind(&**client)
                .bind(&**filter)
        }
        Change::Queued { client, pid, packet, expires, share } => {
            sqlx::query("INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, 0, ?, ?, ?)")
                .bind(seq)
                .bind(&**client)
                .bind(pid.value())
                .bind(&**packet)
                .bind(expires)
                .bind(share.as_deref())
        }
        Change::Released { client, pid } => {
            sqlx::query("UPDATE deliveries SET released = 1 WHERE client = ? AND pid = ?")
                .bind(&**client)
                .bind(pid.value())
        }
        Change::Settled { client, pid } => sqlx::query("DELETE FROM deliveries WHERE client = ? AND pid = ?")
            .bind(&**client)
            .bind(pid.value()),
        Change::Received { client, pid } => {
            sqlx::query("INSERT OR REPLACE INTO received VALUES (?, ?)").bind(&**client).bind(pid.value())
        }
        Change::Completed { client, pid } => {
            sqlx::query("DELETE FROM received WHERE client = ? AND pid = ?").bind(&**client).bind(pid.value())
        }
        Change::Retained { topic, packet, expires } => {
            sqlx::query("INSERT OR REPLACE INTO retained VALUES (?, ?, ?)")
                .bind(&**topic)
                .bind(&**packet)
                .bind(expires)
        }
        Change::Cleared { topic } => sqlx::query("DELETE FROM retained WHERE topic = ?").bind(&**topic),
        Change::Will { number, client, delay, packet } => {
            sqlx::query("INSERT OR REPLACE INTO wills VALUES (?, ?, ?, NULL, ?, 0)")
                .bind(number.cast_signed())
                .bind(&**client)
                .bind(delay)
                .bind(&**packet)
        }
        Change::WillWaits { number, left } => {
            sqlx::query("UPDATE wills SET left = ? WHERE number = ?").bind(left).bind(number.cast_signed())
        }
        Change::WillSaid { number } => {
            sqlx::query("UPDATE wills SET said = 1 WHERE number = ?").bind(number.cast_signed())
        }
        Change::WillOver { number } => {
            sqlx::query("DELETE FROM wills WHERE number = ?").bind(number.cast_signed())
        }
    };
    query.execute(to).await?;
    Ok(())
}

fn subscription(text: &str, options: u8, identifier: Option<u32>) -> Option<Subscription> {
    let (shared, filter) = Filter::shared(text).ok()?;
    let options = SubscriptionOptions {
        max_qos: mqtt_proto::QoS::from_u8(options & 0b11).ok()?,
        no_local: options & 0b100 != 0,
        retain_as_published: options & 0b1000 != 0,
        retain_handling: RetainHandling::from_u8((options >> 4) & 0b11)?,
    };
    let identifier = identifier.map(VarByteInt::try_from).transpose().ok()?;
    Some(Subscription { text: text.into(), filter, shared, options, identifier })
}
