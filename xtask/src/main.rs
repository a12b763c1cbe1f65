//! Chores: `cargo run -p xtask -- tidy` refuses what breaks the repository's habits, `ratchet` writes present sizes
//! down, `snapshots` refuses snapshots that no test uses, `messages` lists what people are told, `graph` prints which
//! file of `control` imports which, and all circles.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a command for people at a terminal")]

mod functions;
mod graph;
mod instants;
mod layers;
mod manifest;
mod messages;
mod paths;
mod ratchet;
mod rules;
mod snapshots;
mod source;
mod tree;

use std::{path::Path, process::ExitCode};

const USAGE: &str = "usage: cargo run -p xtask -- tidy | ratchet | messages | graph | snapshots FILE";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["tidy"] => tidy(),
        ["ratchet"] => lower(),
        ["graph"] => tree::read().map(|files| print!("{}", layers::describe(&files))),
        ["messages"] => tree::read().map(|files| print!("{}", messages::list(&files))),
        ["snapshots", list] => used(Path::new(list)),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn tidy() -> Result<(), String> {
    let found = check(&tree::read()?);
    found.iter().for_each(|violation| println!("{violation}"));
    match found.len() {
        0 => Ok(()),
        n => Err(format!("{n} violations")),
    }
}

/// Everything that is not tidy, in the order of paths and lines.
fn check(files: &[tree::File]) -> Vec<rules::Violation> {
    let mut found: Vec<rules::Violation> = files.iter().flat_map(rules::check).collect();
    found.extend(ratchet::check(files));
    found.extend(layers::check(files));
    found.extend(paths::check(files));
    found.extend(instants::check(files));
    found.sort();
    found
}

fn used(list: &Path) -> Result<(), String> {
    let found = snapshots::unreferenced(list)?;
    found.iter().for_each(|path| println!("{path}: no test uses this snapshot; remove the file"));
    match found.len() {
        0 => Ok(()),
        n => Err(format!("{n} snapshots that no test uses")),
    }
}

fn lower() -> Result<(), String> {
    let files = tree::read()?;
    let text = ratchet::lowered(&files)?;
    let path = tree::root().join(ratchet::PATH);
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        let found = super::check(&super::tree::read().expect("the repository can be read"));
        let lines: String = found.iter().map(|violation| format!("{violation}\n")).collect();
        assert!(found.is_empty(), "{} violations:\n{lines}", found.len());
    }
}
