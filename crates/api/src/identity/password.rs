//! Password hashing with argon2id, off the event loop, and on no more threads than cores.

use crate::identity::turns::{Asker, Turns};
use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier},
};
use lenticular_model::error::{Error, Result};
use std::sync::{Arc, OnceLock};

/// Hashes and verifies.
#[derive(Clone)]
pub struct Passwords {
    turns: Turns,
    /// The hash that stands in for a missing user, so that the check takes as long. Made on first use: it costs
    /// 19 MiB for a moment, which a start should not need.
    decoy: Arc<OnceLock<String>>,
}

impl Passwords {
    /// Runs at most `parallel` hashes at once: each takes a core and 19 MiB.
    pub fn new(parallel: usize) -> Self {
        Self { turns: Turns::new(parallel), decoy: Arc::default() }
    }

    /// Hashes a password.
    ///
    /// # Errors
    /// The system has no randomness, or too many requests wait.
    pub async fn hash(&self, asker: Asker, password: String) -> Result<String> {
        self.run(asker, move || hash(&password)).await?
    }

    /// Whether the password matches the hash. Without a hash the result is false, after the same time.
    ///
    /// # Errors
    /// The work was interrupted, or too many requests wait.
    pub async fn verify(&self, asker: Asker, password: String, hash_of_user: Option<String>) -> Result<bool> {
        let decoy = self.decoy.clone();
        self.run(asker, move || match hash_of_user {
            Some(hash) => matches(&password, &hash),
            None => {
                let decoy = decoy.get_or_init(|| hash("").unwrap_or_default());
                matches(&password, decoy);
                false
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        asker: Asker,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let turn = self.turns.take(asker).await?;
        let work = move || {
            // The turn ends with the hashing, even if the request has been dropped.
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)
    }
}

/// Hashes a password in the calling thread.
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
