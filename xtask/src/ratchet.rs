//! Limits on the length of functions and files. What is over its limit is written down and may only shrink.

use crate::{functions::functions, rules::Violation, source::Source, tree::File};
use std::collections::BTreeMap;

/// Where the sizes are written down.
pub const PATH: &str = "xtask/ratchet.txt";

/// The most lines of a function.
const FUNCTION_LINES_MAX: usize = 70;

/// The most lines of a file.
const FILE_LINES_MAX: usize = 600;

const HEADER: &str = "\
# What is longer than a function (70 lines) or a file (600) should be: path, function or '-', and present lines.
# A number may only go down: cargo run -p xtask -- ratchet
";

/// What is over its limit: by path and function, where it begins and how long it is.
type Over = BTreeMap<(String, String), (usize, usize)>;

fn over(files: &[File]) -> Over {
    let mut over = Over::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            over.insert((file.path.clone(), "-".to_owned()), (1, lines));
        }
        for function in functions(&Source::of(&file.text)) {
            if function.lines > FUNCTION_LINES_MAX {
                let longest = over.entry((file.path.clone(), function.name)).or_default();
                // Functions of one name in one file share an entry: that of the longest.
                *longest = (*longest).max((function.line, function.lines));
            }
        }
    }
    over
}

/// The sizes that are written down.
fn written(files: &[File]) -> Result<BTreeMap<(String, String), usize>, (usize, String)> {
    let text = files.iter().find(|file| file.path == PATH).map_or("", |file| &file.text);
    let mut written = BTreeMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, l)| !l.starts_with('#') && !l.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let bad = || (index + 1, format!("'{line}' is not a path, a function and a number"));
        let [path, function, lines] = words[..] else { return Err(bad()) };
        let lines = lines.parse().map_err(|_| bad())?;
        written.insert((path.to_owned(), function.to_owned()), lines);
    }
    Ok(written)
}

/// What is longer than it may be, and what has shrunk without being written down.
pub fn check(files: &[File]) -> Vec<Violation> {
    let here = File { path: PATH.to_owned(), text: String::new() };
    let mut written = match written(files) {
        Ok(written) => written,
        Err((line, why)) => return vec![Violation::new(&here, line, why, "cargo run -p xtask -- ratchet")],
    };
    let mut found = Vec::new();
    for ((path, name), (line, lines)) in over(files) {
        let (what, limit) = match name.as_str() {
            "-" => ("the file".to_owned(), FILE_LINES_MAX),
            name => (format!("the function {name}"), FUNCTION_LINES_MAX),
        };
        let file = File { path: path.clone(), text: String::new() };
        match written.remove(&(path, name)) {
            Some(allowed) if lines == allowed => {}
            Some(allowed) if lines < allowed => {
                let what = format!("{what} has shrunk from {allowed} lines to {lines}");
                found.push(Violation::new(&file, line, what, "write it down: cargo run -p xtask -- ratchet"));
            }
            Some(allowed) => {
                let what = format!("{what} has grown from {allowed} lines to {lines}");
                found.push(Violation::new(&file, line, what, "take a part of it out"));
            }
            None => {
                let what = format!("{what} has {lines} lines, and {limit} are allowed");
                found.push(Violation::new(&file, line, what, "take a part of it out"));
            }
        }
    }
    for (path, name) in written.into_keys() {
        let what = format!("{path} {name} is within its limit now");
        found.push(Violation::new(&here, 1, what, "write it down: cargo run -p xtask -- ratchet"));
    }
    found
}

/// The ratchet file with what has shrunk since; what has grown is refused.
///
/// # Errors
/// Something has grown, or is over its limit and was not written down.
pub fn lowered(files: &[File]) -> Result<String, String> {
    let written = written(files).map_err(|(line, why)| format!("{PATH}:{line}: {why}"))?;
    let mut text = HEADER.to_owned();
    for ((path, name), (_, lines)) in over(files) {
        match written.get(&(path.clone(), name.clone())) {
            Some(allowed) if lines <= *allowed => text += &format!("{path} {name} {lines}\n"),
            _ => return Err(format!("{path} {name} has grown to {lines} lines: take a part of it out")),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(lines: usize) -> File {
        let body = "    act();\n".repeat(lines - 2);
        File::new("crates/model/src/long.rs", &format!("fn long() {{\n{body}}}\n"))
    }

    fn allowed(text: &str) -> File {
        File::new(PATH, text)
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert!(check(&[long(70)]).is_empty());
        assert_eq!(check(&[long(71)]).len(), 1);
        assert_eq!(check(&[long(601)]).len(), 2, "the file is too long too");
    }

    #[test]
    fn the_ratchet_turns_one_way() {
        let at_80 = || allowed("# why\ncrates/model/src/long.rs long 80\n");
        assert!(check(&[long(80), at_80()]).is_empty());
        assert!(check(&[long(81), at_80()])[0].to_string().contains("grown"));
        assert!(check(&[long(75), at_80()])[0].to_string().contains("shrunk"));
        assert!(check(&[long(70), at_80()])[0].to_string().contains("within its limit"));
        assert!(check(&[allowed("nonsense")])[0].to_string().contains("not a path"));
        assert!(lowered(&[long(75), at_80()]).is_ok_and(|text| text.ends_with("long.rs long 75\n")));
        assert!(lowered(&[long(81), at_80()]).is_err());
        assert!(lowered(&[long(71)]).is_err());
    }
}
