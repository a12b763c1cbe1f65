//! The saved identity: one file, so that key and certificate always match. Beside it are the files for programs
//! that do their own TLS.

use super::IdentityError;
use crate::files;
use lenticular_wire::{enrol::JoinToken, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The format of the file.
const FORM: u32 = 1;

/// The content of the file.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Saved {
    form: u32,
    /// The control plane's URL for agents.
    pub control_plane: String,
    /// The digest of the token that made the identity: a token that stays in the configuration is not used again.
    pub token_sha256: String,
    /// The private key, in PEM.
    pub key: String,
    /// The certificate, in PEM.
    pub certificate: String,
    /// The CA's certificate, in PEM.
    pub ca: String,
}

/// Files for programs that do their own TLS. A new identity replaces each file atomically.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pem {
    /// The private key, and the certificate after it.
    pub own: PathBuf,
    /// The CA's certificate.
    pub ca: PathBuf,
}

impl Pem {
    /// The paths of the files in a directory of [`home`].
    pub(crate) fn of(home: &Path) -> Self {
        Self { own: home.join("host.pem"), ca: home.join("ca.pem") }
    }
}

/// The directory of the identity in a state directory.
pub(crate) fn home(state_dir: &Path) -> PathBuf {
    state_dir.join("identity")
}

/// The digest of a token.
pub(super) fn token_sha256(token: &JoinToken) -> String {
    hex(&Sha256::digest(token.to_string()))
}

fn unusable(path: &Path, why: impl ToString, remedy: &'static str) -> IdentityError {
    IdentityError::Unusable { path: path.display().to_string(), why: why.to_string(), remedy }
}

impl Saved {
    pub(super) fn new(
        control_plane: &str,
        token: &JoinToken,
        key: String,
        certificate: String,
        ca: String,
    ) -> Self {
        let token_sha256 = token_sha256(token);
        Self { form: FORM, control_plane: control_plane.to_owned(), token_sha256, key, certificate, ca }
    }

    /// The same identity with a new key and certificate.
    pub(super) fn renewed(&self, key: String, certificate: String) -> Self {
        Self { key, certificate, ..self.clone() }
    }

    /// Reads the saved identity; `None` if there is none.
    pub(super) fn read(home: &Path) -> Result<Option<Self>, IdentityError> {
        let path = home.join("identity.json");
        let again = "Restore it; or remove it and enrol this host again.";
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&path, error, "Let the agent's user read it.")),
            Ok(bytes) => bytes,
        };
        let saved: Self = serde_json::from_slice(&bytes).map_err(|error| unusable(&path, error, again))?;
        if saved.form > FORM {
            return Err(unusable(&path, "a newer agent wrote it", "Run that release."));
        }
        Ok(Some(saved))
    }

    /// Saves the identity, and replaces the earlier one.
    pub(super) fn write(&self, home: &Path) -> Result<(), IdentityError> {
        let path = home.join("identity.json");
        let bytes = serde_json::to_vec_pretty(self).map_err(IdentityError::tls)?;
        write_private(&path, &bytes)?;
        self.write_pem(home)
    }

    /// Writes the files of [`Pem`] that have other content.
    pub(super) fn write_pem(&self, home: &Path) -> Result<(), IdentityError> {
        let pem = Pem::of(home);
        let own = format!("{}{}", self.key, self.certificate);
        for (path, text) in [(&pem.own, &own), (&pem.ca, &self.ca)] {
            if fs::read(path).ok().as_deref() != Some(text.as_bytes()) {
                write_private(path, text.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// The key of a certificate request. The same key is used again if the answer was lost; a missing key is made.
pub(super) fn pending_key(
    home: &Path,
    make: impl FnOnce() -> Result<String, IdentityError>,
) -> Result<String, IdentityError> {
    let path = home.join("pending-key.pem");
    match fs::read_to_string(&path) {
        Ok(key) => Ok(key),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = make()?;
            write_private(&path, key.as_bytes())?;
            Ok(key)
        }
        Err(error) => Err(unusable(&path, error, "Let the agent's user read it.")),
    }
}

/// Removes the pending key, because its certificate has arrived.
pub(super) fn remove_pending_key(home: &Path) {
    // A key that stays is used for the next enrolment, without harm.
    let _ = files::remove(&home.join("pending-key.pem"));
}

/// Writes a file that only its owner can read, completely or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let write = || -> io::Result<()> {
        if let Some(dir) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let beside = files::beside(path);
        // An existing file may have other permissions.
        files::remove(&beside)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        files::sync_parent(path)
    };
    write().map_err(|error| unusable(path, error, "Let the agent's user write there."))
}
