//! Rust source taken apart just far enough: code without comments and literals, and the literals with their lines.

/// Source taken apart.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The code, line by line as it was, with blanks where comments and literals stood.
    pub code: String,
    /// The string literals.
    pub literals: Vec<Literal>,
}

/// A string literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal {
    /// The line on which it begins.
    pub line: usize,
    /// How many characters of code stand before it.
    pub at: usize,
    /// Its text, as it is written.
    pub text: String,
}

impl Source {
    /// Takes source apart.
    pub fn of(text: &str) -> Self {
        let mut scan = Scan { chars: text.chars().collect(), at: 0, line: 1, source: Source::default() };
        while scan.at < scan.chars.len() {
            scan.step();
        }
        scan.source
    }

    /// The lines of code with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

struct Scan {
    chars: Vec<char>,
    at: usize,
    line: usize,
    source: Source,
}

impl Scan {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    /// Goes on by one character, which is kept or blanked.
    fn take(&mut self, keep: bool) -> char {
        let c = self.peek(0);
        self.at += 1;
        self.line += usize::from(c == '\n');
        self.source.code.push(if keep || c == '\n' { c } else { ' ' });
        c
    }

    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => {
                while self.at < self.chars.len() && self.peek(0) != '\n' {
                    self.take(false);
                }
            }
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('r', '"' | '#') if !self.after_word() && self.raw_hashes(1).is_some() => {
                self.take(false);
                self.raw_string();
            }
            ('b', 'r') if !self.after_word() && self.raw_hashes(2).is_some() => {
                self.take(false);
                self.take(false);
                self.raw_string();
            }
            ('\'', _) => self.quote(),
            _ => {
                self.take(true);
            }
        }
    }

    /// True if the character before belongs to the same word.
    fn after_word(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.chars.get(at));
        before.is_some_and(|c| c.is_alphanumeric() || *c == '_')
    }

    /// How many hashes open a raw string this far ahead; `None` if none does.
    fn raw_hashes(&self, ahead: usize) -> Option<usize> {
        let hashes = (0..).take_while(|n| self.peek(ahead + n) == '#').count();
        (self.peek(ahead + hashes) == '"').then_some(hashes)
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.take(false);
                }
                ('*', '/') => {
                    depth -= 1;
                    self.take(false);
                }
                _ => {}
            }
            self.take(false);
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        let (line, at) = (self.line, self.at);
        let mut text = String::new();
        self.take(false);
        while self.at < self.chars.len() && self.peek(0) != '"' {
            if self.peek(0) == '\\' {
                text.push(self.take(false));
            }
            text.push(self.take(false));
        }
        self.take(false);
        self.source.literals.push(Literal { line, at, text });
    }

    fn raw_string(&mut self) {
        let (line, at) = (self.line, self.at);
        let hashes = self.raw_hashes(0).unwrap_or(0);
        (0..=hashes).for_each(|_| {
            self.take(false);
        });
        let mut text = String::new();
        let ends = |scan: &Self| scan.peek(0) == '"' && (1..=hashes).all(|n| scan.peek(n) == '#');
        while self.at < self.chars.len() && !ends(self) {
            text.push(self.take(false));
        }
        (0..=hashes).for_each(|_| {
            self.take(false);
        });
        self.source.literals.push(Literal { line, at, text });
    }

    /// A character literal is blanked; a lifetime is code.
    fn quote(&mut self) {
        if self.peek(1) == '\\' {
            self.take(false);
            self.take(false);
            self.take(false);
            while self.at < self.chars.len() && self.peek(0) != '\'' {
                self.take(false);
            }
            self.take(false);
        } else if self.peek(2) == '\'' {
            (0..3).for_each(|_| {
                self.take(false);
            });
        } else {
            self.take(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_is_left_without_comments_and_literals() {
        let text =
            "let a = \"x { \\\" y\"; // {\n/* { /* { */ { */ let b: &'a str = r#\"{\"#;\nlet c = '{';\nbr";
        let source = Source::of(text);
        assert!(!source.code.contains('{'), "{}", source.code);
        assert!(source.code.contains("let b: &'a str"));
        assert_eq!(source.code.lines().count(), text.lines().count());
        let literals: Vec<(usize, &str)> =
            source.literals.iter().map(|l| (l.line, l.text.as_str())).collect();
        assert_eq!(literals, [(1, "x { \\\" y"), (2, "{")]);
    }
}
