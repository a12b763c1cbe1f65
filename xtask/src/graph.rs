//! Which file imports which, read from `use` and from paths in the code, and where the arrows run in a circle.

use crate::{source::Source, tree::File};
use std::collections::{BTreeMap, BTreeSet};

/// The files of one crate and the arrows between them.
pub struct Graph {
    /// What each file imports: paths from the repository's root.
    pub arrows: BTreeMap<String, BTreeSet<String>>,
}

/// A module's path within its crate: `["command", "network"]`; empty for the crate's root.
type Module = Vec<String>;

/// A file as a module.
struct Node {
    path: String,
    module: Module,
    code: String,
    uses: Vec<Use>,
}

/// One name that a `use` brings in.
struct Use {
    path: Module,
    name: String,
    public: bool,
}

impl Graph {
    /// The graph of one crate. Tests do not count.
    pub fn of(files: &[File], krate: &str) -> Self {
        let nodes: Vec<Node> = files.iter().filter_map(|file| node(file, krate)).collect();
        let modules: BTreeMap<&Module, &Node> = nodes.iter().map(|node| (&node.module, node)).collect();
        let mut arrows = BTreeMap::new();
        for node in &nodes {
            let found = paths(node).into_iter().filter_map(|path| resolve(&modules, path, 0));
            let found = found.filter(|to| to.path != node.path).map(|to| to.path.clone());
            arrows.insert(node.path.clone(), found.collect());
        }
        Self { arrows }
    }

    /// The circles: files that each reach all the others. The head of a folder and the files in it do not count.
    pub fn circles(&self) -> Vec<BTreeSet<String>> {
        let reach: BTreeMap<&String, BTreeSet<&String>> =
            self.arrows.keys().map(|from| (from, self.reached_from(from))).collect();
        let mut circles: Vec<BTreeSet<String>> = Vec::new();
        for from in self.arrows.keys().filter(|from| reach[from].contains(from)) {
            if circles.iter().any(|circle| circle.contains(from)) {
                continue;
            }
            let back = reach[from].iter().filter(|to| reach.get(**to).is_some_and(|r| r.contains(from)));
            circles.push(back.map(|to| (*to).clone()).collect());
        }
        circles
    }

    fn reached_from<'a>(&'a self, from: &'a String) -> BTreeSet<&'a String> {
        let mut reached = BTreeSet::new();
        let mut next = vec![from];
        while let Some(at) = next.pop() {
            let out = self.arrows.get(at).into_iter().flatten();
            next.extend(out.filter(|to| !is_head_and_own(at, to)).filter(|to| reached.insert(*to)));
        }
        reached
    }
}

/// Whether one of the two is the head of a folder (`mod.rs`, `lib.rs`, `main.rs`) that the other lies in.
fn is_head_and_own(a: &str, b: &str) -> bool {
    let holds = |head: &str, file: &str| {
        let folder = ["mod.rs", "lib.rs", "main.rs"].iter().find_map(|name| head.strip_suffix(name));
        folder.is_some_and(|folder| file.starts_with(folder))
    };
    holds(a, b) || holds(b, a)
}

/// A file of the crate's source as a module.
fn node(file: &File, krate: &str) -> Option<Node> {
    let inner = file.path.strip_prefix(&format!("crates/{krate}/src/"))?.strip_suffix(".rs")?;
    if file.is_test() {
        return None;
    }
    let mut module: Module = inner.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    let code = Source::of(&file.text).code;
    // Tests stand at the end of a file.
    let end = code.find("#[cfg(test)]\nmod ").unwrap_or(code.len());
    let code = code[..end].to_owned();
    let uses = uses(&code);
    Some(Node { path: file.path.clone(), module, code, uses })
}

/// Every name that the `use`s of the code bring in.
fn uses(code: &str) -> Vec<Use> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let before = code[..at].rsplit('\n').next().unwrap_or_default().trim();
        let public = before.starts_with("pub");
        let Some(text) = code[at + 4..].split(';').next() else { continue };
        if before.is_empty() || (public && !before.contains(['=', '(']) || before.starts_with("pub(")) {
            expand(text.trim(), &[], &mut |path, name| found.push(Use { path, name, public }));
        }
    }
    found
}

/// Calls `each` with every path of a tree such as `a::{b, c::{self, d as e}}`, and the name that it gets.
fn expand(tree: &str, prefix: &[String], each: &mut impl FnMut(Module, String)) {
    let tree = tree.trim();
    if let Some((head, rest)) = tree.split_once("::").filter(|(head, _)| !head.contains(['{', ','])) {
        let prefix = [prefix, &[head.trim().to_owned()]].concat();
        return match rest.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(inner) => branches(inner).into_iter().for_each(|branch| expand(branch, &prefix, each)),
            None => expand(rest, &prefix, each),
        };
    }
    let (name, alias) = tree.split_once(" as ").unwrap_or((tree, tree));
    match (name.trim(), alias.trim()) {
        ("", _) => {}
        ("self", alias) => {
            let own = prefix.last().cloned().unwrap_or_default();
            each(prefix.to_vec(), if alias == "self" { own } else { alias.to_owned() });
        }
        (name, alias) => each([prefix, &[name.to_owned()]].concat(), alias.to_owned()),
    }
}

/// The branches of a `use`'s braces.
fn branches(inner: &str) -> Vec<&str> {
    let (mut found, mut depth, mut begin) = (Vec::new(), 0_usize, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                found.push(&inner[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    found.push(&inner[begin..]);
    found
}

/// Every path that a file names, from the crate's root: by `use`, by a name that a `use` brought in, or in full.
fn paths(node: &Node) -> Vec<Module> {
    let mut found: Vec<Module> = node.uses.iter().map(|one| absolute(node, &one.path)).collect();
    let names: BTreeMap<&str, &Use> = node.uses.iter().map(|one| (one.name.as_str(), one)).collect();
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for path in node.code.split(|c| !word(c)).filter(|text| text.contains("::") && !text.ends_with("::")) {
        let path: Module = path.split("::").map(str::to_owned).collect();
        match path[0].as_str() {
            "crate" | "super" => found.push(absolute(node, &path)),
            name => found.extend(names.get(name).map(|one| {
                let rest = path[1..].iter().filter(|part| !part.is_empty()).cloned();
                absolute(node, &one.path).into_iter().chain(rest).collect()
            })),
        }
    }
    found
}

/// A path as it is from the crate's root. What is neither `crate`, `super` nor `self` may be a child of the module.
fn absolute(node: &Node, path: &[String]) -> Module {
    let own = || node.module.clone();
    let mut at = match path.first().map(String::as_str) {
        Some("crate") => Vec::new(),
        _ => own(),
    };
    for part in path.iter().filter(|part| !part.is_empty()) {
        match part.as_str() {
            "crate" | "self" => {}
            "super" => drop(at.pop()),
            part => at.push(part.to_owned()),
        }
    }
    at
}

/// The file that a path leads to. Names that a file brings in for others lead on to the files that have them.
fn resolve<'n>(modules: &BTreeMap<&Module, &'n Node>, path: Module, depth: usize) -> Option<&'n Node> {
    let length = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length].to_vec()))?;
    let node = modules[&path[..length].to_vec()];
    let next = path.get(length).and_then(|name| node.uses.iter().find(|one| one.public && one.name == *name));
    match next.filter(|_| depth < 8) {
        Some(one) => {
            let path: Module =
                absolute(node, &one.path).into_iter().chain(path[length + 1..].to_vec()).collect();
            resolve(modules, path, depth + 1).or(Some(node))
        }
        None => Some(node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(files: &[(&str, &str)]) -> Graph {
        let file = |(path, text): &(&str, &str)| File::new(&format!("crates/a/src/{path}"), text);
        Graph::of(&files.iter().map(file).collect::<Vec<_>>(), "a")
    }

    fn arrows(graph: &Graph, from: &str) -> Vec<String> {
        let short = |path: &String| path.replace("crates/a/src/", "");
        graph.arrows[&format!("crates/a/src/{from}")].iter().map(short).collect()
    }

    #[test]
    fn arrows_are_read_from_use_and_from_paths() {
        let text = "use crate::{b::{self, c}, d as e};\nfn f() { e::x(); crate::g::y(); super::h::z() }\n// crate::i\n";
        let names = ["b/mod.rs", "b/c.rs", "d.rs", "g.rs", "h.rs", "i.rs"].map(|path| (path, ""));
        let graph = graph(&[&[("a.rs", text)], &names[..]].concat());
        assert_eq!(arrows(&graph, "a.rs"), ["b/c.rs", "b/mod.rs", "d.rs", "g.rs", "h.rs"]);
    }

    #[test]
    fn a_name_leads_to_the_file_that_has_it() {
        let files = [
            ("lib.rs", "pub use b::Thing;\n"),
            ("b.rs", "pub struct Thing;\n"),
            ("c/mod.rs", ""),
            ("c/d.rs", ""),
            (
                "e.rs",
                "use crate::{c, Thing};\nfn f() { c::d::x() }\n#[cfg(test)]\nmod tests { use crate::z; }\n",
            ),
            ("z.rs", ""),
        ];
        assert_eq!(arrows(&graph(&files), "e.rs"), ["b.rs", "c/d.rs", "c/mod.rs"]);
    }

    #[test]
    fn circles_are_found_but_for_those_of_a_folder_with_its_head() {
        let files = [
            ("a.rs", "use crate::b;\n"),
            ("b.rs", "use crate::c::x;\n"),
            ("c.rs", "use crate::a;\n"),
            ("d/mod.rs", "use e::x;\n"),
            ("d/e.rs", "use super::y;\n"),
        ];
        let circles = graph(&files).circles();
        assert_eq!(circles.len(), 1);
        assert_eq!(
            circles[0].iter().map(String::as_str).collect::<Vec<_>>(),
            ["crates/a/src/a.rs", "crates/a/src/b.rs", "crates/a/src/c.rs"]
        );
    }
}
