//! Snapshots of answers: one file for each resource, under `snapshots/` and the service's name.

use crate::{cloud::Answer, world::World};
use regex_lite::{Captures, Regex};

/// A resource: the snapshot's name, the URL with names of the world in braces, and the versions.
pub type Shown<'s> = (&'s str, &'s str, &'s [&'s str]);

/// For services without microversions.
pub const UNVERSIONED: &[&str] = &[];

/// Compares each URL's answers at its versions with its snapshot. Neighbouring versions with equal answers share
/// an entry.
pub async fn show(world: &World, service: &str, all: &[Shown<'_>]) {
    for (name, path, versions) in all {
        let mut answers: Vec<(String, String)> = Vec::new();
        if versions.is_empty() {
            answers.push((String::new(), text(&world.cloud.get(world.path(path)).send().await)));
        }
        for version in *versions {
            let answer = text(&world.cloud.get(world.path(path)).microversion(version).send().await);
            match answers.last_mut() {
                Some((at, known)) if *known == answer => at.push_str(&format!(", {version}")),
                _ => answers.push((format!(" at {version}"), answer)),
            }
        }
        let lines = answers.iter().map(|(at, answer)| format!("GET {path}{at}\n{answer}\n"));
        assert_text(service, name, &lines.collect::<String>());
    }
}

/// Compares an answer with its snapshot.
pub fn assert_answer(service: &str, name: &str, request: &str, answer: &Answer) {
    assert_text(service, name, &format!("{request}\n{}\n", text(answer)));
}

fn text(answer: &Answer) -> String {
    let body = serde_json::to_string_pretty(&answer.body).expect("JSON");
    format!("{}\n{body}", answer.status)
}

fn assert_text(service: &str, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("snapshots/{service}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, redact(text)));
}

/// Random values: the word that replaces each value, and the pattern. The pattern's first group is replaced.
const CHANCE: &[(&str, &str)] = &[
    ("mac", r"(fa:16:3e(?::[0-9a-f]{2}){3})"),
    ("host-hash", r#""hostId": "([0-9a-f]+)""#),
    ("reservation", r#""(r-[0-9a-z]{8})""#),
    ("number", r#""(?:id|seq)": (\d+)"#),
    ("audit", r#""audit_ids": \[\s*"([^"]+)""#),
];

/// Random ids, with and without dashes.
const ID: &str = r"\b([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15})\b";

/// Replaces random values by their kind and the order of appearance, so that a snapshot is the same in every run
/// and shows which ids are equal. An id with dashes is a `uuid`, an id without dashes an `id`.
fn redact(text: &str) -> String {
    let mut ids = Seen::default();
    let mut text = replace(text, ID, |id| match id.contains('-') {
        true => format!("uuid-{}", ids.number(&id.replace('-', ""))),
        false => format!("id-{}", ids.number(id)),
    });
    for (word, pattern) in CHANCE {
        let mut seen = Seen::default();
        text = replace(&text, pattern, |found| format!("{word}-{}", seen.number(found)));
    }
    text
}

fn replace(text: &str, pattern: &str, mut name: impl FnMut(&str) -> String) -> String {
    let pattern = Regex::new(pattern).expect("a pattern");
    let with = |found: &Captures<'_>| found[0].replacen(&found[1], &name(&found[1]), 1);
    pattern.replace_all(text, with).into_owned()
}

/// The seen values, in order.
#[derive(Default)]
struct Seen(Vec<String>);

impl Seen {
    fn number(&mut self, text: &str) -> usize {
        let known = self.0.iter().position(|seen| seen == text);
        1 + known.unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        })
    }
}

#[test]
fn what_chance_decides_is_named_in_order() {
    let (one, two) = ("0a0a0a0a-0000-4000-8000-000000000001", "0a0a0a0a-0000-4000-8000-000000000002");
    let text = format!("{two} {one} {} fa:16:3e:00:00:01 52:54:00:00:00:01", two.replace('-', ""));
    assert_eq!(redact(&text), "uuid-1 uuid-2 id-1 mac-1 52:54:00:00:00:01");
    assert_eq!(redact(r#""audit_ids": ["x_y"], "id": 7"#), r#""audit_ids": ["audit-1"], "id": number-1"#);
}
