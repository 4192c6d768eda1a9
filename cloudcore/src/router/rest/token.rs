//! The token that callers of the REST port show.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

/// A longer file is no token.
const LONGEST: u64 = 4096;
/// A shorter one can be guessed.
const SHORTEST: usize = 16;

/// What callers must show.
#[derive(Clone)]
pub struct Token {
    text: Arc<str>,
    file: PathBuf,
}

/// There is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("modules.router.tokenFile: {} cannot be read: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be made.
    #[error("modules.router.tokenFile: {} cannot be made: {reason}", file.display())]
    Make {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// It can be guessed.
    #[error("modules.router.tokenFile: {} holds less than 16 characters: write a longer token, or remove the file and one is made", file.display())]
    Short {
        /// The file.
        file: PathBuf,
    },
}

// === impl Token ===

impl Token {
    /// Reads the token; makes one if the file is not there.
    ///
    /// # Errors
    /// If the file cannot be read, holds no token, or cannot be made.
    pub fn load(file: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Read { file: file.to_owned(), source };
        let text = match fs::File::open(file) {
            Ok(open) => {
                let mut text = String::new();
                #[allow(clippy::disallowed_methods, reason = "the reader is limited")]
                open.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
                text.trim().to_owned()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // 244 random bits.
                let text = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
                proto::pki::write_private(file, text.as_bytes())
                    .map_err(|error| TokenError::Make { file: file.to_owned(), reason: error.to_string() })?;
                text
            }
            Err(error) => return Err(failed(error)),
        };
        if text.len() < SHORTEST {
            return Err(TokenError::Short { file: file.to_owned() });
        }
        Ok(Self { text: text.into(), file: file.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether the header shows it. Takes as long for a token that is nearly right as for any other of its length.
    pub(super) fn is_shown(&self, header: &[u8]) -> bool {
        let Some(shown) = header.strip_prefix(b"Bearer ") else { return false };
        let mine = self.text.as_bytes();
        shown.len() == mine.len() && shown.iter().zip(mine).fold(0, |wrong, (a, b)| wrong | (a ^ b)) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_only_its_own_text_opens() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/router.token");
        let token = Token::load(&file).unwrap();
        assert_eq!(Token::load(&file).unwrap().text, token.text);
        assert!(token.is_shown(format!("Bearer {}", token.text).as_bytes()));
        for wrong in ["", "Bearer ", "Bearer x", &*token.text, &format!("Bearer {}x", &token.text[1..])] {
            assert!(!token.is_shown(wrong.as_bytes()), "{wrong}");
        }
        fs::write(&file, "short\n").unwrap();
        assert!(matches!(Token::load(&file), Err(TokenError::Short { .. })));
    }
}
