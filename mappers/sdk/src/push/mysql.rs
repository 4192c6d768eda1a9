//! MySQL and MariaDB, as KubeEdge's framework fills them: a table for each property.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError};
use sqlx::{AssertSqlSafe, ConnectOptions as _, MySql, QueryBuilder};

use super::{NotTaken, Sample, links};

/// What is wrong with a reading, or with the names of its table, and not with the server: wrong name, too long a name, wrong value,
/// too long a value, a text that the table's letters cannot say.
const OF_THE_READING: [u16; 6] = [1059, 1103, 1264, 1292, 1366, 1406];

/// A server's database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    pub addr: String,
    pub database: String,
    pub user: String,
}

/// A connection, and which tables it has made sure of.
pub(super) struct Link {
    connection: MySqlConnection,
    tables: HashSet<String>,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mysql://{}@{}/{}", self.user, self.addr, self.database)
    }
}

// === impl Link ===

impl links::Link for Link {
    type Place = Server;
    type Load = [Sample];

    async fn open(server: &Server) -> Result<Self, NotTaken> {
        let addr = &server.addr;
        let wrong =
            || NotTaken::Refused(format!("mysqlClientConfig.addr {addr:?} is not HOST:PORT, as mysql:3306"));
        let (host, port) = addr.rsplit_once(':').ok_or_else(wrong)?;
        let mut options = MySqlConnectOptions::new()
            .host(host.trim_matches(['[', ']']))
            .port(port.parse().map_err(|_| wrong())?)
            .username(&server.user)
            .database(&server.database)
            // What waits must not be logged for each batch.
            .disable_statement_logging();
        if let Some(password) = super::password() {
            options = options.password(&password);
        }
        let connection = options.connect().await.map_err(|error| judged(server, &error))?;
        Ok(Self { connection, tables: HashSet::new() })
    }

    /// After a kill in the middle some readings are there twice: the framework's table has nothing to know them by.
    async fn send(&mut self, server: &Server, samples: &[Sample]) -> Result<(), NotTaken> {
        let mut tables: BTreeMap<String, Vec<&Sample>> = BTreeMap::new();
        for sample in samples {
            tables.entry(table(sample)).or_default().push(sample);
        }
        self.insert(&tables).await.map_err(|error| judged(server, &error))
    }
}

impl Link {
    /// All or nothing.
    async fn insert(&mut self, tables: &BTreeMap<String, Vec<&Sample>>) -> Result<(), sqlx::Error> {
        // A statement that makes a table ends a transaction, so these go first.
        for table in tables.keys().filter(|table| !self.tables.contains(*table)).cloned().collect::<Vec<_>>()
        {
            let make = format!(
                "CREATE TABLE IF NOT EXISTS {table} (id INT AUTO_INCREMENT PRIMARY KEY, ts DATETIME NOT NULL, field TEXT)"
            );
            sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut self.connection).await?;
            self.tables.insert(table);
        }
        let inserted = self.in_one(tables).await;
        if inserted.is_err() {
            // Somebody may have dropped a table; and what was begun must not be part of what comes next.
            self.tables.clear();
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
        }
        inserted
    }

    async fn in_one(&mut self, tables: &BTreeMap<String, Vec<&Sample>>) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("START TRANSACTION").execute(&mut self.connection).await?;
        for (table, samples) in tables {
            let mut query: QueryBuilder<MySql> =
                QueryBuilder::new(format!("INSERT INTO {table} (ts, field) "));
            query.push_values(samples, |mut row, sample| {
                row.push_bind(sample.time()).push_bind(sample.value.as_str());
            });
            // Batches differ in size: prepared statements would fill the server's memory.
            query.build().persistent(false).execute(&mut self.connection).await?;
        }
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await?;
        Ok(())
    }
}

/// `namespace/device/property`, quoted.
fn table(sample: &Sample) -> String {
    format!("`{}/{}/{}`", sample.namespace, sample.device, sample.property.replace('`', "``"))
}

fn judged(server: &Server, error: &sqlx::Error) -> NotTaken {
    let number = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>())
        .map(MySqlDatabaseError::number);
    let hint = match number {
        Some(1045) => "; the password is the mapper's environment variable PASSWORD",
        Some(1049) => "; make it, or correct mysqlClientConfig.database",
        Some(1059) => "; NAMESPACE/DEVICE/PROPERTY may have 64 letters here",
        _ => "",
    };
    let why = format!("{server}: {error}{hint}");
    match number {
        Some(number) if OF_THE_READING.contains(&number) => NotTaken::Refused(why),
        _ => NotTaken::Passing(why),
    }
}
