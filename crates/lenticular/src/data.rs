//! A cloud's data directory: its store, images, secrets and the files for clients.

use crate::clock;
use anyhow::{Context, Result};
use lenticular_api::{Authority, Tokens};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A data directory.
#[derive(Debug, Clone)]
pub(crate) struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// Opens the directory for its owner only, and creates it if missing. An existing directory is closed to
    /// other users, who could read projects' disks and images.
    ///
    /// # Errors
    /// The directory cannot be created, or its permissions cannot be set.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
        made.with_context(|| format!("the data directory {} cannot be made", root.display()))?;
        let root = fs::canonicalize(root)?;
        let mode = fs::metadata(&root)?.permissions().mode() & 0o777;
        if mode & 0o066 != 0 {
            tracing::info!(folder = %root.display(), mode = format!("{mode:o}"), "others could look into it; now they cannot");
            fs::set_permissions(&root, fs::Permissions::from_mode(mode & !0o066)).with_context(|| {
                format!("the data directory {} cannot be closed to other users", root.display())
            })?;
        }
        Ok(Self { root })
    }

    /// The path of a file in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Whether a file exists.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The keys that seal tokens, newest first; made at the first start.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(crate) fn token_keys(&self) -> Result<Vec<String>> {
        let text = self.secret("token-keys", || Ok(Tokens::new_key()))?;
        Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    /// The cloud's certificate authority; made at the first start.
    ///
    /// # Errors
    /// Its files cannot be read or written, or do not belong together.
    pub(crate) fn authority(&self) -> Result<Authority> {
        let certificate_path = self.path("ca.crt");
        let certificate = match fs::read_to_string(&certificate_path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read", certificate_path.display()));
            }
        };
        if certificate.is_some() && !self.has("ca.key") {
            anyhow::bail!(
                "{} is gone, but ca.crt beside it is there. Restore it; or remove ca.crt: a new CA is made then, and \
                 every host must be enrolled again.",
                self.path("ca.key").display()
            );
        }
        let key = self.secret("ca.key", || Ok(Authority::new_key()?))?;
        let authority = Authority::open(&key, certificate.as_deref(), clock::now()).with_context(|| {
            format!("the CA in {} cannot be used; restore ca.key and ca.crt", self.root.display())
        })?;
        if certificate.is_none() {
            write_private(&certificate_path, authority.pem())?;
        }
        Ok(authority)
    }

    /// The first administrator's password; made at the first start.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(crate) fn admin_password(&self) -> Result<String> {
        self.secret("admin-password", || Ok(random_text(24)))
    }

    /// Removes the secret that agents shared before each had its own certificate. The secret opens nothing any
    /// more.
    pub(crate) fn remove_agent_secret(&self) {
        if fs::remove_file(self.path("agent-secret")).is_ok() {
            tracing::info!("removed agent-secret: agents have certificates now, and enrol with a token");
        }
    }

    fn secret(&self, name: &str, make: impl FnOnce() -> Result<String>) -> Result<String> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            Ok(_) => {
                anyhow::bail!("{} is empty. Restore it, or remove it to have a new one made.", path.display())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = make()?;
                write_private(&path, &format!("{text}\n"))?;
                Ok(text)
            }
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }

    /// Writes clouds.yaml with the administrator's entry.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write_clouds(&self, url: &str, password: &str) -> Result<PathBuf> {
        let path = self.path("clouds.yaml");
        let text = format!(
            "clouds:\n  lenticular:\n    region_name: RegionOne\n    identity_api_version: 3\n    auth:\n      \
             auth_url: {url}/identity/v3\n      username: admin\n      password: {password}\n      \
             project_name: admin\n      user_domain_name: Default\n      project_domain_name: Default\n"
        );
        write_private(&path, &text)?;
        Ok(path)
    }
}

/// Writes a file that only its owner can read, completely or not at all.
///
/// # Errors
/// The file system refuses.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let part = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

/// A random text of letters and digits, without characters that look alike.
pub(crate) fn random_text(length: usize) -> String {
    let alphabet = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let entropy = clock::entropy();
    let bytes = std::iter::repeat_with(entropy).flatten();
    // Bytes beyond a multiple of the alphabet's length would make some letters more likely.
    let fair = bytes.filter(|b| usize::from(*b) < alphabet.len() * (256 / alphabet.len()));
    fair.take(length).map(|b| char::from(alphabet[usize::from(b) % alphabet.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_texts_differ_and_have_their_length() {
        let (a, b) = (random_text(24), random_text(24));
        assert_eq!(a.len(), 24);
        assert_ne!(a, b);
    }
}
