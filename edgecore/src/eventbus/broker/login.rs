//! Users of the embedded broker: a password file as mosquitto_passwd(1) writes it, read again when it changes.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::pbkdf2;
use tracing::info;

use super::watched::{Named, Watched};

/// What `$7$` stands for in the file: PBKDF2 with HMAC-SHA512 (mosquitto 2.0, `password_mosq.c`).
static ALGORITHM: pbkdf2::Algorithm = pbkdf2::PBKDF2_HMAC_SHA512;
/// A line that asks for more would make a login a way to keep the processor busy.
const MOST_ITERATIONS: u32 = 1_000_000;

/// The password file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// Missing, or not ours to read.
    #[error(
        "cannot read the users of the MQTT broker from {path} (modules.eventBus.mqttPasswordFile): {source}; make it with \
         mosquitto_passwd -c {path} NAME"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A line is not understood.
    #[error("{path}:{line}: {what}; write it with mosquitto_passwd {path} NAME")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// Who may come in. Cheap to share.
#[derive(Debug)]
pub struct Users(Watched<HashMap<String, Secret>, UsersError>);

/// A password that can be checked and not told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Secret {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    derived: Vec<u8>,
}

impl Users {
    /// Reads the file.
    pub fn open(path: PathBuf) -> Result<Self, UsersError> {
        let shown = path.display().to_string();
        let name = Named { what: "the users of the MQTT broker", cure: "" };
        let watched = Watched::open(name, vec![path.clone()], move || read(&path))?;
        info!(path = shown, users = watched.current().len(), "MQTT clients must log in");
        Ok(Self(watched))
    }

    /// Whether there is such a user with that password. Takes some milliseconds of a processor, on another thread.
    pub(super) async fn knows(&self, name: &str, password: &[u8]) -> bool {
        let Some(secret) = self.0.current().get(name).cloned() else { return false };
        let password = password.to_vec();
        let check = tokio::task::spawn_blocking(move || secret.is(&password));
        check.await.unwrap_or(false)
    }
}

impl Secret {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let Some(rest) = text.strip_prefix("$7$") else {
            return Err("the password is not in mosquitto's form $7$ (PBKDF2-SHA512)");
        };
        let mut parts = rest.split('$');
        let (Some(iterations), Some(salt), Some(derived), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("the password is cut short");
        };
        let iterations = iterations.parse().ok().filter(|count: &NonZeroU32| count.get() <= MOST_ITERATIONS);
        let iterations = iterations.ok_or("the number of iterations is none, or above 1,000,000")?;
        let bytes = |text| STANDARD.decode(text).map_err(|_| "salt or hash is not base64");
        Ok(Self { iterations, salt: bytes(salt)?, derived: bytes(derived)? })
    }

    fn is(&self, password: &[u8]) -> bool {
        pbkdf2::verify(ALGORITHM, self.iterations, &self.salt, password, &self.derived).is_ok()
    }
}

fn read(path: &PathBuf) -> Result<HashMap<String, Secret>, UsersError> {
    let failed = |source| UsersError::Read { path: path.clone(), source };
    parse(&std::fs::read_to_string(path).map_err(failed)?).map_err(|(line, what)| UsersError::Line {
        path: path.clone(),
        line,
        what,
    })
}

fn parse(text: &str) -> Result<HashMap<String, Secret>, (usize, &'static str)> {
    let mut users = HashMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, secret) = line.split_once(':').ok_or((at + 1, "a line is NAME:PASSWORD"))?;
        let secret = Secret::parse(secret).map_err(|what| (at + 1, what))?;
        users.insert(name.to_owned(), secret);
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;

    fn line(password: &[u8]) -> String {
        let (salt, mut derived) = ([7; 12], [0; 64]);
        pbkdf2::derive(ALGORITHM, NonZeroU32::new(101).unwrap(), &salt, password, &mut derived);
        format!("$7$101${}${}", STANDARD.encode(salt), STANDARD.encode(derived))
    }

    #[tokio::test]
    async fn a_file_that_changes_is_read_again_and_a_broken_one_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        assert!(Users::open(path.clone()).unwrap_err().to_string().contains("mosquitto_passwd -c"));
        std::fs::write(&path, format!("# people\nada:{}\n", line(b"lovelace"))).unwrap();
        let users = Users::open(path.clone()).unwrap();
        assert!(users.knows("ada", b"lovelace").await);
        assert!(!users.knows("ada", b"Lovelace").await && !users.knows("eve", b"lovelace").await);
        let later = |seconds| SystemTime::now() + std::time::Duration::from_secs(seconds);
        let touch = |seconds| {
            std::fs::File::options().append(true).open(&path).unwrap().set_modified(later(seconds)).unwrap();
        };
        std::fs::write(&path, "eve:secret\n").unwrap();
        touch(10);
        assert!(users.knows("ada", b"lovelace").await, "the file is broken");
        std::fs::write(&path, format!("eve:{}", line(b""))).unwrap();
        touch(20);
        assert!(users.knows("eve", b"").await && !users.knows("ada", b"lovelace").await);
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        for (text, at) in [
            ("ada", 1),
            ("\n#\nada:plain", 3),
            ("a:$7$101$x", 1),
            ("a:$7$0$AA==$AA==", 1),
            ("a:$7$9999999$AA==$AA==", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().0, at, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reading_panic(text in "[a:$7\\n# A=]{0,40}|\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
