//! How long functions are.

use crate::source::Source;

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`.
    pub line: usize,
    /// Lines from there to its closing brace.
    pub lines: usize,
}

/// Every function in the source, nested ones too.
pub fn functions(source: &Source) -> Vec<Function> {
    let code: Vec<char> = source.code.chars().collect();
    let mut found = Vec::new();
    let mut line = 1;
    for at in 0..code.len() {
        line += usize::from(code[at] == '\n');
        if let Some(name) = name_of_fn(&code, at)
            && let Some(lines) = body_lines(&code, at)
        {
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// The name of the function that begins here.
fn name_of_fn(code: &[char], at: usize) -> Option<String> {
    let word = |c: &char| c.is_alphanumeric() || *c == '_';
    let begins =
        code[at..].starts_with(&['f', 'n', ' ']) && !at.checked_sub(1).is_some_and(|b| word(&code[b]));
    let name: String = code[at..].iter().skip(3).take_while(|c| word(c)).collect();
    (begins && !name.is_empty()).then_some(name)
}

/// How many lines the function has; `None` if it has no body.
fn body_lines(code: &[char], at: usize) -> Option<usize> {
    let (mut braces, mut brackets, mut lines) = (0_usize, 0_usize, 1);
    for c in &code[at..] {
        match c {
            '\n' => lines += 1,
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return Some(lines);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_fn_to_its_brace() {
        let text = "trait T { fn none(&self) -> [u8; 2]; }\nfn one() { let s = \"}\"; }\nfn three(\n) {\n}\n";
        let found = functions(&Source::of(text));
        let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(found, [("one", 2, 1), ("three", 3, 3)]);
    }
}
