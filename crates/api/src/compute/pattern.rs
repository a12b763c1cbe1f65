//! Filters by a regular expression, as Nova has them for names and addresses.

use lenticular_model::error::{Error, Result};
use regex_lite::{Regex, RegexBuilder};

/// The longest expression, in bytes.
const LENGTH_MAX: usize = 255;

/// The largest compiled expression, in bytes. The time for matching every server of a listing grows with this
/// size.
const COMPILED_BYTES_MAX: usize = 16 * 1024;

/// A pattern to search a text for.
pub enum Pattern {
    /// A part of the text. Most filters are a plain text, and searching for a text is far cheaper.
    Part(String),
    /// A regular expression.
    Expression(Regex),
}

impl Pattern {
    /// An expression that may match anywhere in a text.
    ///
    /// # Errors
    /// The value of `field` is no regular expression, or the expression is too large.
    pub fn anywhere(field: &str, text: &str) -> Result<Self> {
        match regex_lite::escape(text) == text {
            true => Ok(Self::Part(text.to_owned())),
            false => compile(field, text, text),
        }
    }

    /// An expression that must match at the beginning of a text.
    ///
    /// # Errors
    /// As `anywhere`.
    pub fn at_start(field: &str, text: &str) -> Result<Self> {
        compile(field, text, &format!("^(?:{text})"))
    }

    /// Whether the pattern matches a text.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Part(part) => text.contains(part.as_str()),
            Self::Expression(regex) => regex.is_match(text),
        }
    }
}

fn compile(field: &str, given: &str, expression: &str) -> Result<Pattern> {
    let bad = |why: &dyn std::fmt::Display| {
        Error::invalid(format!("Invalid input for query parameters {field}. Value: {given}. {why}"))
    };
    if given.len() > LENGTH_MAX {
        return Err(bad(&format!("A regular expression has at most {LENGTH_MAX} bytes.")));
    }
    // The text alone must be a valid expression: an extra parenthesis would close the group around it.
    let build = |text| RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build();
    build(given).and_then(|_| build(expression)).map(Pattern::Expression).map_err(|error| bad(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_regular_expressions_do() {
        for (pattern, text, wanted) in [
            ("web", "my-web-1", true),
            ("^web", "my-web-1", false),
            ("1$", "web-1", true),
            ("^web-1$", "web-10", false),
            ("^w.*2$", "web-1", false),
            ("a.*b", "xaxbx", true),
            ("é", "café", true),
            ("web|db", "my-db-1", true),
            ("^(web|db)-[0-9]{1,3}$", "db-042", true),
            ("^(web|db)-[0-9]{1,3}$", "db-0421", false),
            (r"^a\.b$", "axb", false),
            ("colou?r", "color", true),
        ] {
            let found = Pattern::anywhere("name", pattern).unwrap().matches(text);
            assert_eq!(found, wanted, "{pattern} in {text}");
        }
    }

    #[test]
    fn addresses_match_from_their_beginning() {
        let at_start = |pattern: &str, text: &str| Pattern::at_start("ip", pattern).unwrap().matches(text);
        assert!(at_start("10.0.", "10.0.7.1"));
        assert!(!at_start("10.0.0.1$", "110.0.0.1"));
        assert!(at_start("192|10", "10.0.0.1") && !at_start("192|10", "172.10.0.1"));
        assert!(at_start("^10", "10.0.0.1"));
    }

    #[test]
    fn invalid_and_too_large_expressions_are_refused() {
        for bad in ["[", "(", "*a", "a)(b", "(a{100}){100}", &"a*".repeat(200)] {
            assert!(Pattern::anywhere("name", bad).is_err(), "{bad}");
            assert!(Pattern::at_start("ip", bad).is_err(), "{bad}");
        }
    }
}
