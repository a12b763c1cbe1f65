//! A host's packages: all together as one digest, and those that rules name by their versions.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The beginning of a version's name that is about a package: `package:openssl`.
pub const PACKAGE: &str = "package:";

/// The most packages whose versions a host reports: as many as there may be rules.
pub const PACKAGES_MAX: usize = 200;

/// The longest name of a package, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// All packages of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// A digest of all names, architectures and versions: hosts with the same digest have the same packages.
    pub digest: String,
    /// How many are installed.
    pub installed: u32,
    /// How many have an update in the repositories, as the host last read them; `None` if the host does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<u32>,
    /// How many of the updates are from a repository for security.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_updates: Option<u32>,
}

/// The package that a version's name is about, if it is about one.
pub fn package_of(version_name: &str) -> Option<&str> {
    version_name.strip_prefix(PACKAGE).filter(|package| is_package(package))
}

/// True if a distribution may have a package of this name.
pub fn is_package(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    begins && name.len() <= NAME_BYTES_MAX && name.bytes().all(fits)
}

/// Refuses a name that no package has.
///
/// # Errors
/// It has other characters, or is too long.
pub fn check_package(name: &str) -> Result<()> {
    match is_package(name) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "A package's name has 1 to {NAME_BYTES_MAX} letters, digits, plus signs, hyphens, dots and underscores."
        ))),
    }
}
