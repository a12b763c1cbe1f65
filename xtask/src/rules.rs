//! The rules over single files. Each says what it found, and what to do.

use crate::{manifest, source::Source, tree::File};
use std::fmt;

/// Something that is not tidy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    path: String,
    line: usize,
    what: String,
    remedy: String,
}

impl Violation {
    /// A violation in this line of a file.
    pub fn new(file: &File, line: usize, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.path, self.line, self.what, self.remedy)
    }
}

/// Everything that is not tidy about one file by itself.
pub fn check(file: &File) -> Vec<Violation> {
    let mut found = manifest::check(file);
    found.extend(registry_hosts(file));
    if file.is_rust() {
        let source = Source::of(&file.text);
        for rule in [first_line, statements, subprocesses, unfinished, impure, hidden_order] {
            found.extend(rule(file, &source));
        }
    }
    found
}

fn first_line(file: &File, _: &Source) -> Vec<Violation> {
    if file.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![Violation::new(file, 1, "the first line does not say what the file is", "begin it with '//! '")]
}

/// Words that begin a statement, and those that must follow somewhere.
const STATEMENTS: &[(&str, &str)] = &[
    ("select ", " from "),
    ("insert into ", ""),
    ("insert or ", " into "),
    ("delete from ", ""),
    ("update ", " set "),
    ("create table ", ""),
    ("create index ", ""),
    ("alter table ", ""),
    ("drop table ", ""),
];

fn statements(file: &File, source: &Source) -> Vec<Violation> {
    // This crate has to name what it refuses.
    if file.of_crate() == Some("store") || file.path.starts_with("xtask/") {
        return Vec::new();
    }
    let is_statement = |text: &str| {
        let flat: String = text.split_whitespace().collect::<Vec<_>>().join(" ") + " ";
        let lower = flat.to_ascii_lowercase();
        STATEMENTS.iter().any(|(begin, then)| {
            let loud = flat.find(&begin.to_ascii_uppercase()).map(|at| &lower[at..]);
            let rest = if lower.starts_with(begin) { Some(&lower[..]) } else { loud };
            rest.is_some_and(|rest| rest.contains(then))
        })
    };
    let found = source.literals.iter().filter(|literal| is_statement(&literal.text));
    found
        .map(|literal| Violation::new(file, literal.line, "SQL outside the store", "let crates/store do it"))
        .collect()
}

fn subprocesses(file: &File, source: &Source) -> Vec<Violation> {
    let exempt = file.path.ends_with("/exec.rs") || file.path.starts_with("xtask/");
    if exempt || file.is_test() || file.is_under("benches") {
        return Vec::new();
    }
    let starts = |line: &str| {
        line.contains("process::Command")
            || line.contains("tokio::process")
            || (line.contains("process::{") && has_word(line, "Command"))
    };
    in_code(file, source, starts, "a subprocess outside an exec module", "start it in the crate's exec.rs")
}

/// How the reason begins why a test that is a part of another does not run by itself.
const PART: &str = "a part of the test";

fn unfinished(file: &File, source: &Source) -> Vec<Violation> {
    let is_macro = |line: &str| line.contains(concat!("to", "do!")) || line.contains("unimplemented!");
    let mut found = in_code(file, source, is_macro, "something is not done", "do it, or leave it out");
    // What another test starts as a process of its own is run all the same, and says so.
    let is_part = |line: usize| source.literals.iter().any(|l| l.line == line && l.text.starts_with(PART));
    let ignored = source.lines().filter(|(n, line)| line.contains(concat!("#[", "ignore")) && !is_part(*n));
    let remedy = "make it run, or remove it";
    found.extend(ignored.map(|(n, _)| Violation::new(file, n, "a test that does not run", remedy)));
    for (index, line) in file.text.lines().enumerate() {
        if has_word(line, concat!("TO", "DO")) || has_word(line, concat!("FIX", "ME")) {
            let remedy = "do it, or write it down where work is planned";
            found.push(Violation::new(file, index + 1, "a note of something to be done", remedy));
        }
    }
    found
}

/// What the pure crates know nothing of.
const IMPURE: &[&str] =
    &["async", "await", "tokio", "SystemTime", "rand", "getrandom", "std::fs", "Instant::now"];

fn impure(file: &File, source: &Source) -> Vec<Violation> {
    let pure = matches!(file.of_crate(), Some("model" | "control"));
    if !pure || !file.is_under("src") {
        return Vec::new();
    }
    let is_impure = |line: &str| IMPURE.iter().any(|word| has_word(line, word));
    let remedy = "hand time, chance and files in from outside";
    in_code(file, source, is_impure, "a pure crate does I/O, reads a clock or draws chance", remedy)
}

fn hidden_order(file: &File, source: &Source) -> Vec<Violation> {
    if !matches!(file.of_crate(), Some("model" | "control" | "sim")) {
        return Vec::new();
    }
    let hides = |line: &str| has_word(line, "HashMap") || has_word(line, "HashSet");
    let remedy = "use a BTreeMap, a BTreeSet or imbl's ordered kinds";
    in_code(file, source, hides, "a map whose order is left to chance", remedy)
}

/// Hosts of package registries and mirrors, in parts so that this file does not name them.
const HOSTS: &[(&str, &str)] = &[
    ("crates", ".io"),
    ("py", "pi.org"),
    ("pythonhosted", ".org"),
    ("deb.debian", ".org"),
    ("ftp.debian", ".org"),
    ("security.debian", ".org"),
    ("snapshot.debian", ".org"),
    ("npm", "js.org"),
    ("npm", "js.com"),
    ("yarnpkg", ".com"),
];

/// Where packages come from is each machine's own business. The lock file names the default registry by itself.
fn registry_hosts(file: &File) -> Vec<Violation> {
    if file.path == "Cargo.lock" {
        return Vec::new();
    }
    let hosts: Vec<String> = HOSTS.iter().map(|(a, b)| format!("{a}{b}")).collect();
    let names = |line: &str| hosts.iter().any(|host| line.contains(host.as_str()));
    let lines = file.text.lines().enumerate().filter(|(_, line)| names(line));
    let violation = |(index, _)| {
        Violation::new(
            file,
            index + 1,
            "a package registry is named",
            "leave the choice to the machine's settings",
        )
    };
    lines.map(violation).collect()
}

fn in_code(
    file: &File,
    source: &Source,
    wrong: impl Fn(&str) -> bool,
    what: &str,
    remedy: &str,
) -> Vec<Violation> {
    let lines = source.lines().filter(|(_, line)| wrong(line));
    lines.map(|(line, _)| Violation::new(file, line, what, remedy)).collect()
}

/// Whether the line has the word, not as a part of another.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a file of this path that has `code` after a good first line.
    fn found(path: &str, code: &str) -> Vec<String> {
        let file = File::new(path, &format!("//! A file.\n{code}\n"));
        check(&file).iter().map(ToString::to_string).collect()
    }

    fn refused(path: &str, code: &str) {
        let found = found(path, code);
        assert_eq!(found.len(), 1, "{path}: {code}: {found:?}");
        assert!(found[0].starts_with(&format!("{path}:2: ")), "{found:?}");
    }

    fn allowed(path: &str, code: &str) {
        assert_eq!(found(path, code), Vec::<String>::new(), "{path}: {code}");
    }

    #[test]
    fn a_file_says_first_what_it_is() {
        let file = File::new("crates/api/tests/a.rs", "use std::fmt;\n");
        assert_eq!(check(&file)[0].to_string().split(": ").next(), Some("crates/api/tests/a.rs:1"));
    }

    #[test]
    fn sql_stays_in_the_store() {
        for text in [
            "select a from b",
            "SELECT a\\n FROM b",
            "insert into t values (1)",
            "x; DELETE FROM t",
            "update t set a = 1",
        ] {
            refused("crates/api/src/a.rs", &format!("const A: &str = \"{text}\";"));
            allowed("crates/store/src/a.rs", &format!("const A: &str = \"{text}\";"));
        }
        allowed("crates/api/src/a.rs", "const A: &str = \"You may select one, or delete from there.\";");
    }

    #[test]
    fn subprocesses_start_in_exec_modules() {
        for code in
            ["use std::process::Command;", "use tokio::process;", "use std::process::{Command, Stdio};"]
        {
            refused("crates/agent/src/a.rs", code);
            allowed("crates/agent/src/exec.rs", code);
            allowed("crates/agent/tests/a.rs", code);
            allowed("crates/agent/src/iso_tests.rs", code);
            allowed("xtask/src/a.rs", code);
        }
        allowed("crates/agent/src/a.rs", "use std::process::ExitCode; // not process::Command");
    }

    #[test]
    fn nothing_is_left_undone() {
        refused("crates/api/src/a.rs", concat!("fn a() { to", "do!() }"));
        refused("crates/api/src/a.rs", "fn a() { unimplemented!() }");
        refused("crates/api/src/a.rs", concat!("// TO", "DO: later"));
        refused("crates/api/src/a.rs", concat!("// FIX", "ME"));
        refused("crates/api/src/a.rs", concat!("#[", "ignore] fn a() {}"));
        refused("crates/api/src/a.rs", concat!("#[", "ignore = \"it is slow\"] fn a() {}"));
        allowed("crates/api/src/a.rs", concat!("#[", "ignore = \"a part of the test below\"] fn a() {}"));
    }

    #[test]
    fn pure_crates_stay_pure() {
        let impure = [
            "async fn a() {}",
            "use tokio::sync;",
            "use std::fs;",
            "use std::time::SystemTime;",
            "let a = Instant::now();",
            "let a = rand::random();",
        ];
        for code in impure {
            refused("crates/model/src/a.rs", code);
            refused("crates/control/src/a/b.rs", code);
            allowed("crates/agent/src/a.rs", code);
        }
        allowed("crates/model/src/a.rs", "fn random(operand: u8) {} // no async here");
    }

    #[test]
    fn order_is_visible() {
        for (code, name) in [("use std::collections::HashMap;", "sim"), ("let a: HashSet<u8>;", "control")] {
            refused(&format!("crates/{name}/src/a.rs"), code);
            allowed("crates/agent/src/a.rs", code);
        }
    }

    #[test]
    fn registries_are_not_named() {
        for (a, b) in HOSTS {
            let text = format!("see {a}{b}/x");
            assert_eq!(check(&File::new("docs/a.md", &text)).len(), 1, "{text}");
            assert!(check(&File::new("Cargo.lock", &text)).is_empty());
        }
    }
}
