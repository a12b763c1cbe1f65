//! Output for a terminal. Hosts and tenants choose words in the cloud's answers: no such word may steer the
//! terminal.
//!
//! Control characters and characters that turn the direction of text are written as `\u001b`, which is their form
//! in JSON, too. Only the line feed stays.

use std::io::{self, Write};

/// A writer that passes on only characters that a terminal shows.
pub struct Plain<W> {
    inner: W,
    /// The beginning of a character that has not fully arrived yet.
    rest: Vec<u8>,
}

impl<W: Write> Plain<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, rest: Vec::new() }
    }
}

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.rest);
        for chunk in pending.utf8_chunks() {
            self.inner.write_all(plain(chunk.valid()).as_bytes())?;
            let invalid = chunk.invalid();
            if !invalid.is_empty() && pending.ends_with(invalid) && is_beginning(invalid) {
                self.rest = invalid.to_vec();
            } else if !invalid.is_empty() {
                self.inner.write_all("\u{fffd}".as_bytes())?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// True if more bytes can complete these to a character.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// The text, with escapes in place of characters that steer a terminal.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(c),
            c if c.is_control() || is_format(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// An untrusted text that must stay on one line: line feeds and tabs are escaped, too.
pub(crate) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Invisible characters and characters that change how others are shown: of zero width, or of another direction.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(parts: &[&[u8]]) -> String {
        let mut out = Vec::new();
        let mut plain = Plain::new(&mut out);
        parts.iter().for_each(|part| plain.write_all(part).unwrap());
        plain.flush().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_that_is_printed_steers_the_terminal() {
        assert_eq!(written(&[b"a\nb"]), "a\nb");
        assert_eq!(written(&[b"\x1b]0;title\x07"]), "\\u001b]0;title\\u0007");
        assert_eq!(written(&["x\u{9b}2J\u{202e}y\u{200b}".as_bytes()]), "x\\u009b2J\\u202ey\\u200b");
        assert_eq!(written(&["Zoë │ 雲".as_bytes()]), "Zoë │ 雲");
        assert_eq!(written(&[b"a\rb\x7f"]), "a\\u000db\\u007f");
    }

    #[test]
    fn characters_may_come_in_pieces() {
        let cloud = "雲".as_bytes();
        assert_eq!(written(&[&cloud[..1], &cloud[1..2], &cloud[2..]]), "雲");
        assert_eq!(written(&[b"a\xff", b"b"]), "a\u{fffd}b");
        assert_eq!(written(&[&cloud[..2], b"b"]), "\u{fffd}b");
    }

    #[test]
    fn json_stays_json() {
        let text = serde_json::to_string(&"\u{9b}\u{1b}\u{202e}").unwrap();
        assert_eq!(serde_json::from_str::<String>(&plain(&text)).unwrap(), "\u{9b}\u{1b}\u{202e}");
    }
}
