//! Files that a server's owner wants in its guest.

use serde::{Deserialize, Serialize};

/// A file that a server's owner wants in its guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonalityFile {
    /// Its path in the guest.
    pub path: String,
    /// Its bytes, in Base64.
    pub contents: String,
}
