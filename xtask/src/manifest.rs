//! What crates may import, and what every manifest says.

use crate::{rules::Violation, tree::File};

/// Which crates each may import; a crate that is not here may import none of ours.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("control", &["model"]),
    ("wire", &["model"]),
    ("store", &["model"]),
    ("ovn", &["model", "wire"]),
    ("api", &["model", "control", "wire", "store"]),
    ("agent", &["wire", "model"]),
    ("cli", &["wire", "model"]),
    ("sim", &["model", "control", "wire", "store", "agent"]),
    // Stands in for many hosts.
    ("benches", &["model", "agent"]),
    ("lenticular", &["model", "control", "wire", "store", "ovn", "api", "agent", "cli", "sim"]),
];

/// What is wrong with a manifest.
pub fn check(file: &File) -> Vec<Violation> {
    let is_member = file.path.ends_with("/Cargo.toml");
    if !is_member {
        return Vec::new();
    }
    let mut found = edges(file);
    if !file.text.contains("[lints]\nworkspace = true") {
        found.push(Violation::new(
            file,
            1,
            "the manifest has no '[lints] workspace = true'",
            "add these two lines",
        ));
    }
    found
}

fn edges(file: &File) -> Vec<Violation> {
    let name = file.of_crate().unwrap_or(if file.is_under("benches") { "benches" } else { "xtask" });
    let allowed = MAY_IMPORT.iter().find(|(of, _)| *of == name).map_or(&[][..], |(_, allowed)| allowed);
    let mut found = Vec::new();
    let mut section = "";
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        }
        let Some(import) = imported(section, line) else { continue };
        // Tests may use what the crate may not, but nothing may use the binary.
        let in_tests = section.contains("dev-dependencies") && import != "lenticular";
        if !in_tests && !allowed.contains(&import) {
            let what = format!("crate {name} may not import {import}");
            found.push(Violation::new(
                file,
                index + 1,
                what,
                "move the code to where the table in DESIGN allows it",
            ));
        }
    }
    found
}

/// Which of our crates a line of a manifest imports.
fn imported<'l>(section: &'l str, line: &'l str) -> Option<&'l str> {
    let ours = |key: &'l str| match key {
        "lenticular" => Some("lenticular"),
        _ => key.strip_prefix("lenticular-"),
    };
    if let Some((table, key)) = section.rsplit_once('.')
        && table.ends_with("dependencies")
    {
        return line.starts_with('[').then(|| ours(key)).flatten();
    }
    if !section.ends_with("dependencies") || line.starts_with(['[', '#']) {
        return None;
    }
    ours(line.split(['.', ' ', '=']).next()?.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINTS: &str = "[lints]\nworkspace = true\n";

    fn wrong(path: &str, text: &str) -> usize {
        check(&File::new(path, text)).len()
    }

    #[test]
    fn edges_that_are_not_in_the_table_are_refused() {
        let with = |line: &str| format!("[dependencies]\n{line}\n{LINTS}");
        assert_eq!(wrong("crates/model/Cargo.toml", &with("lenticular-wire.workspace = true")), 1);
        assert_eq!(wrong("crates/cli/Cargo.toml", &with("lenticular-store = { workspace = true }")), 1);
        assert_eq!(wrong("crates/sim/Cargo.toml", &with("lenticular = { path = \"../lenticular\" }")), 1);
        let table = format!("[dependencies.lenticular-api]\nworkspace = true\n{LINTS}");
        assert_eq!(wrong("crates/agent/Cargo.toml", &table), 1);
        let tests = format!("[dev-dependencies]\nlenticular-store.workspace = true\n{LINTS}");
        assert_eq!(wrong("crates/wire/Cargo.toml", &tests), 0);
        assert_eq!(wrong("crates/wire/Cargo.toml", &with("lenticular-model.workspace = true")), 0);
    }

    #[test]
    fn a_manifest_without_lints_is_refused() {
        assert_eq!(wrong("crates/model/Cargo.toml", "[package]\n"), 1);
        assert_eq!(wrong("Cargo.toml", "[workspace]\n"), 0);
    }
}
