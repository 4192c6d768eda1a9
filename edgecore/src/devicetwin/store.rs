//! devicetwin.db: devices and twins, each row with the version it has and the version that the cloud has.
//!
//! A transaction is synced when it commits: what is answered to a sensor survives a power cut. The batches of
//! [`super::worker`] make many reports share one sync.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sqlx::{Row as _, SqliteConnection, SqlitePool};

use super::engine::{Change, Device, DeviceId, Half, Twin, ValueType, Version};
use sqlite::{Durability, OpenError, Options, Transaction};

const STEPS: &[&str] = &["
    CREATE TABLE device (
        id TEXT PRIMARY KEY, uid TEXT NOT NULL, description TEXT, state TEXT, last_online TEXT,
        state_at INTEGER NOT NULL, state_changed INTEGER NOT NULL, state_confirmed INTEGER NOT NULL,
        twin_confirmed INTEGER NOT NULL, removed_at INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE twin (
        device TEXT NOT NULL, name TEXT NOT NULL, value_type TEXT NOT NULL, optional INTEGER NOT NULL,
        deleted INTEGER NOT NULL, desired TEXT,
        expected TEXT, expected_at INTEGER NOT NULL, expected_cloud INTEGER NOT NULL,
        expected_edge INTEGER NOT NULL, expected_changed INTEGER NOT NULL,
        actual TEXT, actual_at INTEGER NOT NULL, actual_cloud INTEGER NOT NULL,
        actual_edge INTEGER NOT NULL, actual_changed INTEGER NOT NULL,
        PRIMARY KEY (device, name)
    ) WITHOUT ROWID;
"];

/// Why something could not be stored, in words for a sensor's developer and the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Space or permissions: worth another try.
    #[error("the disk under devicetwin.db refuses the write ({0}): it is full or read-only")]
    Disk(sqlx::Error),
    /// The file is damaged.
    #[error("devicetwin.db is corrupt ({0}): it is moved aside and written anew")]
    Corrupt(sqlx::Error),
    /// Anything else.
    #[error("devicetwin.db failed: {0}")]
    Sql(sqlx::Error),
    /// The file could not be opened again.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if sqlite::is_corrupt(&error) {
            Self::Corrupt(error)
        } else if sqlite::is_disk_trouble(&error) {
            Self::Disk(error)
        } else {
            Self::Sql(error)
        }
    }
}

/// The open file.
#[derive(Debug)]
pub(super) struct Store {
    options: Options,
    pool: SqlitePool,
}

impl Store {
    pub(super) async fn open(path: PathBuf) -> Result<Self, OpenError> {
        let options = Options { path, steps: STEPS, durability: Durability::Full };
        let pool = sqlite::open(&options).await?.pool;
        Ok(Self { options, pool })
    }

    /// Opens the file anew; a corrupt one is moved aside.
    pub(super) async fn reopen(&mut self) -> Result<(), StoreError> {
        self.pool.close().await;
        self.pool = sqlite::open(&self.options).await?.pool;
        Ok(())
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    pub(super) async fn load(&self) -> Result<BTreeMap<DeviceId, Device>, StoreError> {
        let mut devices: BTreeMap<DeviceId, Device> = BTreeMap::new();
        for row in sqlx::query("SELECT * FROM device").fetch_all(&self.pool).await? {
            let Ok(id) = row.try_get::<String, _>("id")?.parse() else { continue };
            let device = Device {
                uid: row.try_get("uid")?,
                description: row.try_get("description")?,
                state: row.try_get("state")?,
                last_online: row.try_get("last_online")?,
                state_at: row.try_get("state_at")?,
                state_changed: unsigned(row.try_get("state_changed")?),
                state_confirmed: unsigned(row.try_get("state_confirmed")?),
                twin_confirmed: unsigned(row.try_get("twin_confirmed")?),
                removed_at: row.try_get("removed_at")?,
                ..Device::default()
            };
            devices.insert(id, device);
        }
        for row in sqlx::query("SELECT * FROM twin").fetch_all(&self.pool).await? {
            let Ok(id) = row.try_get::<String, _>("device")?.parse::<DeviceId>() else { continue };
            let Some(device) = devices.get_mut(&id) else { continue };
            let half = |value, at, cloud, edge, changed| -> Result<Half, sqlx::Error> {
                Ok(Half {
                    value: row.try_get(value)?,
                    at: row.try_get(at)?,
                    version: Version { cloud: row.try_get(cloud)?, edge: row.try_get(edge)? },
                    changed: unsigned(row.try_get(changed)?),
                })
            };
            let twin = Twin {
                value_type: ValueType::from_store(&row.try_get::<String, _>("value_type")?)
                    .unwrap_or_default(),
                optional: row.try_get("optional")?,
                deleted: row.try_get("deleted")?,
                desired: row.try_get("desired")?,
                expected: half(
                    "expected",
                    "expected_at",
                    "expected_cloud",
                    "expected_edge",
                    "expected_changed",
                )?,
                actual: half("actual", "actual_at", "actual_cloud", "actual_edge", "actual_changed")?,
            };
            device.twins.insert(row.try_get("name")?, twin);
        }
        Ok(devices)
    }

    /// All of it, or nothing. On disk when it returns.
    pub(super) async fn write(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut transaction = Transaction::begin(&self.pool).await?;
        for change in changes {
            write_change(&mut transaction, change).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

async fn write_change(connection: &mut SqliteConnection, change: &Change) -> Result<(), sqlx::Error> {
    let id = change.id.as_str();
    if change.wipe || change.device.is_none() {
        sqlx::query("DELETE FROM twin WHERE device = ?").bind(id).execute(&mut *connection).await?;
        sqlx::query("DELETE FROM device WHERE id = ?").bind(id).execute(&mut *connection).await?;
    }
    let Some(device) = &change.device else { return Ok(()) };
    if change.row {
        sqlx::query("INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(id)
            .bind(&device.uid)
            .bind(&device.description)
            .bind(&device.state)
            .bind(&device.last_online)
            .bind(device.state_at)
            .bind(signed(device.state_changed))
            .bind(signed(device.state_confirmed))
            .bind(signed(device.twin_confirmed))
            .bind(device.removed_at)
            .execute(&mut *connection)
            .await?;
    }
    for name in &change.twins {
        let Some(twin) = device.twins.get(name) else { continue };
        let upsert = "INSERT OR REPLACE INTO twin VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let mut query = sqlx::query(upsert)
            .bind(id)
            .bind(name)
            .bind(twin.value_type.as_str())
            .bind(twin.optional)
            .bind(twin.deleted)
            .bind(&twin.desired);
        for half in [&twin.expected, &twin.actual] {
            query = query
                .bind(&half.value)
                .bind(half.at)
                .bind(half.version.cloud)
                .bind(half.version.edge)
                .bind(signed(half.changed));
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Sequence numbers start at 0 and grow by one: they never leave the range of either type.
fn signed(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

fn unsigned(sequence: i64) -> u64 {
    u64::try_from(sequence).unwrap_or(0)
}
