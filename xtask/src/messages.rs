//! All messages that people can see, as a list that can be read: what refuses a request, a command or a host, and why.

use crate::{
    source::{Literal, Source},
    tree::File,
};

/// Where the list is kept.
#[cfg(test)]
const PATH: &str = "xtask/messages.txt";

/// What makes an error of a text. The last part of the path counts, and `Error::` before it any name.
const MAKERS: &[&str] = &["bail!", "anyhow!", "ensure!", "context", "with_context", "refuse", "error"];

/// Crates whose messages nobody sees but who works on the code.
const INSIDE: &[&str] = &["sim"];

/// Every text between quotes here is a message.
const ALL_OF: &[&str] = &["crates/control/src/schedule/"];

/// The list: each file that has messages, with its messages in the order in which they stand there.
pub fn list(files: &[File]) -> String {
    let mut list = String::new();
    let mut files: Vec<&File> = files.iter().filter(|file| speaks(file)).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    for file in files {
        let messages = messages(file);
        if !messages.is_empty() {
            list.push_str(&format!("\n{}\n", file.path));
            messages.iter().for_each(|message| list.push_str(&format!("    {message}\n")));
        }
    }
    list.trim_start().to_owned()
}

fn speaks(file: &File) -> bool {
    let of = file.of_crate().filter(|of| !INSIDE.contains(of));
    of.is_some() && file.is_rust() && file.is_under("src") && !file.is_test()
}

fn messages(file: &File) -> Vec<String> {
    // Tests stand at the end of a file.
    let text = file.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let source = Source::of(text);
    let code: Vec<char> = source.code.chars().collect();
    let all = ALL_OF.iter().any(|folder| file.path.starts_with(folder));
    let mut found: Vec<String> = Vec::new();
    for literal in &source.literals {
        let message = plain(&literal.text);
        let is_message = all || is_sentence(&message) || is_handed_to_a_maker(&code, literal);
        let says_something = message.contains(' ') && message.contains(char::is_alphabetic);
        if says_something && is_message && !found.contains(&message) {
            found.push(message);
        }
    }
    found
}

/// A literal as it is read: on one line, without the marks of the source.
fn plain(text: &str) -> String {
    let lines: Vec<&str> = text.split("\\\n").collect();
    let joined: Vec<&str> =
        lines.iter().enumerate().map(|(n, l)| if n == 0 { l } else { l.trim_start() }).collect();
    joined.concat().replace('\n', "\\n").replace("\\\"", "\"")
}

/// True for a text that begins and ends as a sentence does.
fn is_sentence(text: &str) -> bool {
    text.starts_with(|c: char| c.is_uppercase() || c == '{') && text.ends_with('.') && text.contains(' ')
}

/// True if the literal stands between the parentheses of something that makes an error.
fn is_handed_to_a_maker(code: &[char], literal: &Literal) -> bool {
    let mut closed = 0_usize;
    for at in (0..literal.at).rev() {
        match code[at] {
            ')' => closed += 1,
            '(' if closed > 0 => closed -= 1,
            '(' if is_maker(&word_before(code, at)) => return true,
            _ => {}
        }
    }
    false
}

/// The path before a parenthesis: `Error::conflict` of `Error::conflict(`.
fn word_before(code: &[char], at: usize) -> String {
    let is_part = |c: &&char| c.is_alphanumeric() || matches!(c, '_' | ':' | '!' | '#' | '[');
    let backwards: Vec<char> = code[..at].iter().rev().take_while(is_part).copied().collect();
    backwards.into_iter().rev().collect()
}

fn is_maker(word: &str) -> bool {
    let last = word.rsplit([':', '[']).next().unwrap_or_default();
    word.contains("Error::") || word.contains("Fault::") || (MAKERS.contains(&last) && word != "error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_are_as_they_were_read() {
        let files = crate::tree::read().expect("the repository can be read");
        let written = files.iter().find(|file| file.path == PATH).map_or("", |file| &file.text);
        let list = list(&files);
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        let (now, then) = (lines(&list), lines(written));
        let news: Vec<&String> = now.symmetric_difference(&then).collect();
        assert!(
            list == written,
            "messages came, went or moved: {news:#?}\nRead each as a stranger would. Then write the list:\n    \
             cargo run -q -p xtask -- messages > {PATH}"
        );
    }

    #[test]
    fn what_makes_an_error_is_known() {
        let text = r#"
            fn a() -> Result<()> {
                ensure!(b, "b is not so");
                c().with_context(|| format!("{} cannot be read", d("not a message")))?;
                let why = if e { "not a message either" } else { "What {e} is cannot \
                          be told." };
                Err(Error::conflict(format!("a {why} b")).coded("Code"))
            }
            #[error("there is no {0}")]
            tracing::error!("for the log");
            #[cfg(test)]
            mod tests { fn f() { bail!("only a test"); } }
        "#
        .replace("            ", "");
        let found = messages(&File::new("crates/api/src/a.rs", &text));
        let known = [
            "b is not so",
            "{} cannot be read",
            "not a message",
            "What {e} is cannot be told.",
            "a {why} b",
            "there is no {0}",
        ];
        assert_eq!(found, known, "what is handed to a message is shown with it");
    }
}
