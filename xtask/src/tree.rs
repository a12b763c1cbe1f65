//! The files of the repository: those that git tracks, as they are in the working tree.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A text file.
#[derive(Debug, Clone)]
pub struct File {
    /// Its path from the root, with slashes.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl File {
    /// A file of this name and text.
    #[cfg(test)]
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The crate that it belongs to: `model` of `crates/model/src/lib.rs`.
    pub fn of_crate(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    /// True for Rust source.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// True for a file of nothing but tests.
    pub fn is_test(&self) -> bool {
        self.is_under("tests") || self.path.ends_with("/tests.rs") || self.path.ends_with("_tests.rs")
    }

    /// True if one of the directories on its path has this name.
    pub fn is_under(&self, directory: &str) -> bool {
        let mut parts: Vec<&str> = self.path.split('/').collect();
        parts.pop();
        parts.contains(&directory)
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All text files that git tracks.
///
/// # Errors
/// Git cannot list them.
pub fn read() -> Result<Vec<File>, String> {
    let root = root();
    #[expect(clippy::disallowed_methods, reason = "a chore may ask git; nothing else in the repository does")]
    let mut git = Command::new("git");
    let listed = git.args(["ls-files", "-z"]).current_dir(&root).output();
    let listed = listed.map_err(|error| format!("git ls-files: {error}"))?;
    if !listed.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr)));
    }
    let names = String::from_utf8(listed.stdout).map_err(|error| format!("git ls-files: {error}"))?;
    let mut files = Vec::new();
    for path in names.split('\0').filter(|path| !path.is_empty()) {
        // What was just removed, or is no text, has nothing to check.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    Ok(files)
}
