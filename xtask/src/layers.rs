//! Which files may import which in `control`, and the circles between files that are known in every crate.

use crate::{graph::Graph, rules::Violation, tree::File};
use std::collections::BTreeSet;

/// Where the known circles are written down.
pub const CIRCLES: &str = "xtask/circles.txt";

/// The folder that the rules are about.
const CONTROL: &str = "crates/control/src/";

/// Files in `command/` that are no command: commands share them, and they import no command.
const SUPPORT: &[(&str, &str)] = &[
    ("compute/access", "says which servers and flavors a caller may use, and in which states"),
    ("compute/nic", "makes the interfaces of servers"),
    ("identity/cascade", "says what goes with a project, a user, a group or a role"),
    ("identity/delegation", "says which roles and tokens hand roles on"),
    ("identity/govern", "checks who may change which project or user"),
    ("identity/thing", "lists what a project has"),
    ("network/check", "refuses what several network resources refuse alike"),
    ("network/pool_range", "chooses the range of a subnet in its pool"),
    ("network/routing", "checks that routers, legs and floating IPs agree"),
];

/// Commands that consist of other commands, and may import them.
const COMPOSED: &[(&str, &str)] = &[
    ("compute/server_create", "makes the project's first network by the command for it"),
    ("identity/purge", "removes each thing of a project by the command that its owner would use"),
    ("network/auto_allocated_topology", "makes network, subnets and router by their own commands"),
];

/// What a folder of `control` may not import.
const NO_IMPORT: &[(&str, &[&str])] = &[
    ("lifecycle", &["command", "observe", "reconcile"]),
    ("observe", &["command"]),
    ("plan", &["command", "observe", "reconcile"]),
    ("schedule", &["command", "observe", "lifecycle", "reconcile"]),
];

/// Arrows that break the rules today. The list may only shrink: take an arrow out of it when the arrow is gone.
const OPEN: &[(&str, &str)] = &[];

/// Whatever breaks the rules about imports.
pub fn check(files: &[File]) -> Vec<Violation> {
    let graph = Graph::of(files, "control");
    let refused = refused(&graph);
    let at = |path: &str| File { path: path.to_owned(), text: String::new() };
    let mut found = Vec::new();
    for (from, to, why) in &refused {
        if !OPEN.contains(&(short(from), short(to))) {
            let what = format!("imports {to}: {why}");
            found.push(Violation::new(
                &at(from),
                1,
                what,
                "move what both need to a file that commands share",
            ));
        }
    }
    for (from, to) in OPEN {
        if !refused.iter().any(|(a, b, _)| short(a) == *from && short(b) == *to) {
            let what = format!("the arrow from {from} to {to} is gone");
            found.push(Violation::new(&at("xtask/src/layers.rs"), 1, what, "take it out of OPEN"));
        }
    }
    found.extend(check_circles(files));
    found
}

/// A path within `control/src`, without its ending.
fn short(path: &str) -> &str {
    path.strip_prefix(CONTROL).and_then(|path| path.strip_suffix(".rs")).unwrap_or(path)
}

/// The arrows that the rules do not allow, with the rule.
fn refused(graph: &Graph) -> Vec<(String, String, &'static str)> {
    let mut found = Vec::new();
    for (from, to) in graph.arrows.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to))) {
        if let Some(why) = refusal(short(from), short(to)) {
            found.push((from.clone(), to.clone(), why));
        }
    }
    found
}

/// The rule that an arrow breaks, if it breaks one.
fn refusal(from: &str, to: &str) -> Option<&'static str> {
    let folder = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let barred = NO_IMPORT.iter().find(|(of, _)| *of == folder(from)).map_or(&[][..], |(_, barred)| barred);
    if barred.contains(&folder(to).as_str()) {
        return Some("the arrow runs up");
    }
    let listed = |list: &[(&str, &str)], path: &str| {
        list.iter().any(|(file, _)| path.strip_prefix("command/") == Some(*file))
    };
    let is_file = |path: &str| path.starts_with("command/") && !path.ends_with("/mod");
    let is_command = |path: &str| is_file(path) && !listed(SUPPORT, path);
    // The file of a noun brings in the commands that stand in its folder.
    let is_own = to.strip_prefix(from).is_some_and(|rest| rest.starts_with('/'));
    let refused = is_file(from) && is_command(to) && !is_own && !listed(COMPOSED, from);
    refused.then_some("a command imports no command")
}

/// Circles that are not written down, and written ones that are gone.
fn check_circles(files: &[File]) -> Vec<Violation> {
    let list = files.iter().find(|file| file.path == CIRCLES).map_or("", |file| &file.text);
    let here = File { path: CIRCLES.to_owned(), text: String::new() };
    let mut written = match written(list) {
        Ok(written) => written,
        Err((line, why)) => return vec![Violation::new(&here, line, why, "write a reason, then the files")],
    };
    let mut found = Vec::new();
    for circle in crates(files).iter().flat_map(|krate| Graph::of(files, krate).circles()) {
        match written.iter_mut().find(|known| circle.is_subset(&known.files)) {
            Some(known) => known.left.retain(|path| !circle.contains(path)),
            None => {
                let names: Vec<&str> = circle.iter().map(String::as_str).collect();
                let what = format!("files import each other in a circle: {}", names.join(" "));
                found.push(Violation::new(&here, 1, what, "move what both need to a file below both"));
            }
        }
    }
    for known in written {
        for path in known.left {
            let what = format!("{path} is in this circle no more");
            found.push(Violation::new(&here, known.line, what, "take the path out of the list"));
        }
    }
    found
}

/// A circle that is written down.
#[derive(Default)]
struct Known {
    /// The line of its reason; 0 before there is one.
    line: usize,
    /// Its files.
    files: BTreeSet<String>,
    /// Those that no circle of today has.
    left: BTreeSet<String>,
}

/// The circles that are written down: a line with the reason, then the files, then an empty line.
fn written(text: &str) -> Result<Vec<Known>, (usize, String)> {
    let mut written = Vec::new();
    let mut known = Known::default();
    for (index, line) in text.lines().chain([""]).enumerate() {
        match line.trim() {
            line if line.starts_with('#') => {}
            "" if known.line == 0 => {}
            "" => {
                known.left = known.files.clone();
                written.push(std::mem::take(&mut known));
            }
            line if known.line == 0 && line.starts_with("crates/") => {
                return Err((index + 1, format!("the circle of {line} has no reason")));
            }
            _ if known.line == 0 => known.line = index + 1,
            line => drop(known.files.insert(line.to_owned())),
        }
    }
    Ok(written)
}

/// The names of our crates.
fn crates(files: &[File]) -> BTreeSet<String> {
    let sources = files.iter().filter(|file| file.is_rust());
    sources.filter_map(|file| file.of_crate().map(str::to_owned)).collect()
}

/// The arrows of `control`, and the circles of all crates, for a reader.
pub fn describe(files: &[File]) -> String {
    let mut text = String::new();
    for (from, all) in &Graph::of(files, "control").arrows {
        let names: Vec<&str> = all.iter().map(|to| short(to)).collect();
        text += &format!("{} → {}\n", short(from), names.join(" "));
    }
    for krate in crates(files) {
        for circle in Graph::of(files, &krate).circles() {
            text += &format!("\ncircle in {krate}:\n");
            circle.iter().for_each(|path| text += &format!("{path}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_imports_no_command() {
        assert!(refusal("command/network/port", "command/network/router").is_some());
        assert!(refusal("command/network/routing", "command/network/port").is_some());
        assert_eq!(refusal("command/network/port", "command/network/routing"), None);
        assert_eq!(refusal("command/network/port", "command/network/port/update"), None);
        assert!(refusal("command/network/port/update", "command/network/port").is_some());
        assert_eq!(refusal("command/identity/purge", "command/network/port"), None);
        assert_eq!(refusal("bootstrap", "command/image"), None);
    }

    #[test]
    fn arrows_run_down() {
        assert!(refusal("lifecycle/ports", "observe/host").is_some());
        assert!(refusal("observe/host", "command/compute/server").is_some());
        assert!(refusal("schedule/plan", "lifecycle/ports").is_some());
        assert_eq!(refusal("observe/host", "lifecycle/ports"), None);
        assert_eq!(refusal("command/compute/server", "lifecycle/ports"), None);
    }

    #[test]
    fn a_circle_is_written_down_with_its_reason() {
        let file = |path: &str, text: &str| File::new(path, text);
        let a = || file("crates/x/src/a.rs", "use crate::b::y;\n");
        let b = || file("crates/x/src/b.rs", "use crate::a::x;\n");
        let list = |text: &str| file(CIRCLES, text);
        let both = "crates/x/src/a.rs\ncrates/x/src/b.rs\n";
        assert_eq!(check_circles(&[a(), b(), list("# circles\n")]).len(), 1);
        assert!(check_circles(&[a(), b(), list(&format!("they are one thing\n{both}"))]).is_empty());
        let three = format!("they are one thing\n{both}crates/x/src/c.rs\n");
        assert!(
            check_circles(&[a(), b(), list(&three)])[0]
                .to_string()
                .contains("c.rs is in this circle no more")
        );
        assert!(check_circles(&[a(), b(), list(both)])[0].to_string().contains("no reason"));
    }
}
