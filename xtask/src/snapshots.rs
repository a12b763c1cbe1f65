//! Snapshots that no test compares anything with.

use crate::tree::{self, File};
use std::{collections::BTreeSet, path::Path};

/// The tracked snapshots that are not in the list that insta wrote while all tests ran (`INSTA_SNAPSHOT_REFERENCES_FILE`).
///
/// # Errors
/// The list or the repository cannot be read.
pub fn unreferenced(list: &Path) -> Result<Vec<String>, String> {
    let root = tree::root().canonicalize().map_err(|error| format!("the repository: {error}"))?;
    let listed = std::fs::read_to_string(list).map_err(|error| format!("{}: {error}", list.display()))?;
    Ok(missing(&tree::read()?, &root.display().to_string(), &listed))
}

fn missing(files: &[File], root: &str, listed: &str) -> Vec<String> {
    let listed: BTreeSet<&str> =
        listed.lines().filter_map(|line| line.strip_prefix(root)?.strip_prefix('/')).collect();
    let snapshots = files.iter().map(|file| &file.path).filter(|path| path.ends_with(".snap"));
    snapshots.filter(|path| !listed.contains(path.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_no_test_looked_at_is_named() {
        let files = ["a/tests/snapshots/one.snap", "a/tests/snapshots/two.snap", "a/src/lib.rs"];
        let files = files.map(|path| File::new(path, ""));
        let listed = "/root/a/tests/snapshots/two.snap\n/elsewhere/a/tests/snapshots/one.snap\n";
        assert_eq!(missing(&files, "/root", listed), ["a/tests/snapshots/one.snap"]);
    }
}
