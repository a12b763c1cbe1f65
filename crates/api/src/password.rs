//! Password hashing with argon2id, off the event loop and never more than the cores at once.

use argon2::{
    password_hash::{PasswordHasher, PasswordVerifier},
    Argon2,
};
use lenticular_model::error::{Error, Result};
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;

/// Hashes and verifies.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// The hash that stands in for a user who is not there, so that asking takes as long. Made when first needed: it
    /// costs 19 MiB for a moment, which a start need not.
    decoy: Arc<OnceLock<String>>,
}

impl Passwords {
    /// Hashes with at most `parallel` at once: each takes a core and 19 MiB.
    pub fn new(parallel: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(parallel.max(1))), decoy: Arc::default() }
    }

    /// Hashes a password.
    ///
    /// # Errors
    /// The system has no randomness.
    pub async fn hash(&self, password: String) -> Result<String> {
        self.run(move || hash(&password)).await?
    }

    /// Whether the password is the one that was hashed; false for no hash, after as long a time.
    ///
    /// # Errors
    /// The work was cut off.
    pub async fn verify(&self, password: String, hash_of_user: Option<String>) -> Result<bool> {
        let decoy = self.decoy.clone();
        self.run(move || match hash_of_user {
            Some(hash) => matches(&password, &hash),
            None => {
                let decoy = decoy.get_or_init(|| hash("").unwrap_or_default());
                matches(&password, decoy);
                false
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _turn = self.turns.acquire().await.map_err(Error::internal)?;
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)
    }
}

/// Hashes a password, on the caller's own time.
///
/// # Errors
/// The system has no randomness.
pub fn hash(password: &str) -> Result<String> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(Error::internal)?;
    let hash =
        Argon2::default().hash_password_with_salt(password.as_bytes(), &salt).map_err(Error::internal)?;
    Ok(hash.to_string())
}

fn matches(password: &str, hash: &str) -> bool {
    let Ok(parsed) = argon2::password_hash::phc::PasswordHash::new(hash) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok()
}
