//! Paths that documents name: each is there, written from the repository's root (in a link: from the document's folder).
//! A path may go on with `::` and what the file defines, such as a function.

use crate::{rules::Violation, tree::File};
use std::collections::BTreeSet;

/// Endings of names that are paths if there is a slash before them.
const ENDINGS: &[&str] = &[".rs", ".md", ".py", ".toml", "/"];

/// Every path in a document that is not there.
pub fn check(files: &[File]) -> Vec<Violation> {
    let mut there: BTreeSet<&str> = BTreeSet::new();
    for file in files {
        there.insert(&file.path);
        there.extend(file.path.match_indices('/').map(|(at, _)| &file.path[..at]));
    }
    let documents = || files.iter().filter(|file| is_document(file));
    let mut found: Vec<Violation> = documents().flat_map(|file| of_document(file, &there)).collect();
    found.extend(documents().flat_map(|file| definitions(file, files)));
    found
}

/// Names that a document gives as `path.rs::name`, and that the file does not define.
fn definitions(document: &File, files: &[File]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (line, text) in prose(&document.text) {
        for span in text.split('`') {
            let Some((path, name)) = span.split_once(".rs::") else { continue };
            let path = format!("{path}.rs");
            let name = name.rsplit("::").next().unwrap_or(name);
            let file = files.iter().find(|file| file.path == path);
            if file.is_some_and(|file| !defines(&file.text, name)) {
                let what = format!("'{path}' defines no '{name}'");
                found.push(Violation::new(document, line, what, "name what the file defines"));
            }
        }
    }
    found
}

/// Whether a Rust file defines something of this name.
fn defines(text: &str, name: &str) -> bool {
    const KEYWORDS: &[&str] = &["fn", "struct", "enum", "trait", "const", "static", "type", "macro_rules!"];
    let mut words =
        text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '!')).filter(|w| !w.is_empty());
    let mut before = words.next();
    words.any(|word| {
        let defined = word == name && before.is_some_and(|keyword| KEYWORDS.contains(&keyword));
        before = Some(word);
        defined
    })
}

fn is_document(file: &File) -> bool {
    let root = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].contains(&file.path.as_str());
    root || (file.path.starts_with("docs/") && file.path.ends_with(".md"))
}

fn of_document(file: &File, there: &BTreeSet<&str>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut missing = |line: usize, path: &str| {
        let what = format!("there is no '{path}'");
        found.push(Violation::new(file, line, what, "write the path from the repository's root, as it is"));
    };
    let mut quoted = false;
    for (line, text) in prose(&file.text) {
        // A quotation may go on in the next line, but not in the next paragraph.
        quoted &= !text.trim().is_empty();
        for (n, span) in text.split('`').enumerate() {
            quoted ^= n > 0;
            if quoted && is_path(span, there) {
                let paths = expanded(span.split(':').next().unwrap_or(span));
                paths.iter().filter(|path| !is_there(path, there)).for_each(|path| missing(line, path));
            }
        }
        for target in links(text) {
            let path = resolved(&file.path, target);
            if !is_there(&path, there) {
                missing(line, &path);
            }
        }
    }
    found
}

fn is_there(path: &str, there: &BTreeSet<&str>) -> bool {
    there.contains(path.trim_end_matches('/'))
}

/// The lines outside of fences, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

/// True for what begins with a top-level folder, leads to a crate's `src`, or has a slash and a path's ending.
/// Placeholders are no paths.
fn is_path(span: &str, there: &BTreeSet<&str>) -> bool {
    let Some((first, rest)) = span.split_once('/') else { return false };
    if first.is_empty() || span.contains(|c: char| c.is_whitespace() || "<>$*~…=\"".contains(c)) {
        return false;
    }
    let in_crate = rest.starts_with("src") && there.contains(format!("crates/{first}").as_str());
    there.contains(first)
        || in_crate
        || (!rest.is_empty() && ENDINGS.iter().any(|ending| rest.ends_with(ending)))
}

/// `a/{b,c}` as `a/b` and `a/c`.
fn expanded(text: &str) -> Vec<String> {
    let parts = text.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?)));
    let Some((head, (choices, tail))) = parts else { return vec![text.to_owned()] };
    choices.split(',').flat_map(|choice| expanded(&format!("{head}{}{tail}", choice.trim()))).collect()
}

/// The targets of a line's links that lead to files.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.map(|target| target.split('#').next().unwrap_or(target));
    files.filter(|target| !target.is_empty() && !target.contains(':'))
}

/// A link's target, from the root.
fn resolved(document: &str, target: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(document: &str) -> Vec<String> {
        let there =
            ["crates/model/src/a.rs", "crates/model/src/b.rs", "docs/c.md", "docs/d/e.md", "README.md"];
        let mut files: Vec<File> = there.iter().map(|path| File::new(path, "")).collect();
        files.push(File::new("docs/text.md", document));
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn paths_that_are_there_are_taken() {
        let good = "Run `a command\nof two lines` in `crates/model`. See `crates/model/src/{a,b}.rs`, `crates/model/`, `docs/d/e.md:17`, [c](c.md#part), [e](./d/e.md)\n\
                    and [up](../README.md). `crates/<name>/src`, `a/b`, `/v3/auth.md`, `target`, `{host}`, `cat x/y.md`\n\
                    and [elsewhere](https://example.org/x.md) are no paths.\n```\n`crates/gone.rs`\n```\n";
        assert_eq!(found(good), Vec::<String>::new());
    }

    #[test]
    fn names_that_a_file_does_not_define_are_refused() {
        let text = |name: &str| {
            let files = [
                File::new(
                    "crates/model/src/a.rs",
                    "pub fn there(x: u8) {}\nmacro_rules! each {}\nstruct Own;\n// fn_like",
                ),
                File::new("docs/text.md", &format!("`crates/model/src/a.rs::{name}`")),
            ];
            check(&files).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for good in ["there", "each", "Own", "Own::there"] {
            assert_eq!(text(good), Vec::<String>::new());
        }
        for bad in ["gone", "x", "like"] {
            assert_eq!(text(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn paths_that_are_not_there_are_refused() {
        for bad in [
            "`crates/model/src/gone.rs`",
            "`crates/model/src/{a,gone}.rs`",
            "`model/src/a.rs`",
            "`model/src/`",
            "`model/src/a`",
            "`crates/model` or `crates/gone`",
            "[c](gone.md)",
            "[e](../d/e.md)",
        ] {
            let found = found(&format!("A line.\n{bad}\n"));
            assert_eq!(found.len(), 1, "{bad}: {found:?}");
            assert!(found[0].starts_with("docs/text.md:2: there is no '"), "{found:?}");
        }
    }
}
