//! Access rules: the requests that an application credential allows.

use crate::{AccessRuleId, UserId, record};

record! {
    /// A kind of request: a service, a method, and a path with wildcards.
    pub struct AccessRule: AccessRuleId {
        /// The user whose application credentials may use it.
        pub user_id: UserId,
        /// The service's type: `compute`.
        pub service: String,
        /// The request's method: `GET`.
        pub method: String,
        /// The request's path: `*` and `{word}` stand for one part of it, `**` for any number of parts.
        pub path: String,
    }
}

impl AccessRule {
    /// Whether the rule allows a request. `path` is the path below the service's endpoint root: `/v2.1/servers`.
    pub fn allows(&self, service: &str, method: &str, path: &str) -> bool {
        self.service == service && self.method == method && matches(&tokens(&self.path), path)
    }
}

/// A part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'p> {
    Literal(&'p str),
    /// One or more characters without a slash.
    Part,
    /// Any characters.
    Rest,
}

fn tokens(pattern: &str) -> Vec<Token<'_>> {
    let (mut found, mut rest) = (Vec::new(), pattern);
    while !rest.is_empty() {
        let (token, length) = if rest.starts_with("**") {
            (Token::Rest, 2)
        } else if rest.starts_with('*') {
            (Token::Part, 1)
        } else if let Some(end) = rest.find('}').filter(|_| rest.starts_with('{')) {
            (Token::Part, end + 1)
        } else {
            let end = rest.char_indices().skip(1).find(|(_, c)| matches!(c, '*' | '{'));
            let end = end.map_or(rest.len(), |(at, _)| at);
            (Token::Literal(&rest[..end]), end)
        };
        // Neighbours of the same kind match no more than one of them, and would only cost time.
        if found.last() != Some(&token) || matches!(token, Token::Literal(_)) {
            found.push(token);
        }
        rest = &rest[length..];
    }
    found
}

/// Whether a path fits a pattern. The time is the product of both lengths: clients choose both.
fn matches(pattern: &[Token<'_>], path: &str) -> bool {
    // The positions in the path that the tokens so far can end at.
    let mut ends = vec![false; path.len() + 1];
    ends[0] = true;
    for token in pattern {
        let mut next = vec![false; path.len() + 1];
        match token {
            Token::Literal(text) => {
                for at in (0..=path.len()).filter(|at| ends[*at]) {
                    if path.as_bytes()[at..].starts_with(text.as_bytes()) {
                        next[at + text.len()] = true;
                    }
                }
            }
            Token::Part => {
                let mut inside = false;
                for (at, byte) in path.bytes().enumerate() {
                    inside = (inside || ends[at]) && byte != b'/';
                    next[at + 1] = inside;
                }
            }
            Token::Rest => {
                let first = ends.iter().position(|end| *end).unwrap_or(ends.len());
                next[first..].fill(true);
            }
        }
        ends = next;
    }
    ends[path.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, path: &str) -> bool {
        matches(&tokens(pattern), path)
    }

    #[test]
    fn wildcards_stand_for_one_part_or_for_many() {
        for (pattern, path) in [
            ("/v2.1/servers", "/v2.1/servers"),
            ("/v2.1/servers/*", "/v2.1/servers/a"),
            ("/v2.1/servers/*/ips", "/v2.1/servers/a-b/ips"),
            ("/v2.1/servers/{server_id}/ips", "/v2.1/servers/a-b/ips"),
            ("/v2.1/**", "/v2.1/servers/a/ips"),
            ("/v2.1/**/ips", "/v2.1/servers/a/ips"),
            ("**", "/anything/at/all"),
            ("/v2.1/servers/a*z", "/v2.1/servers/abcz"),
            ("/v2.1/servers/{broken", "/v2.1/servers/{broken"),
        ] {
            assert!(fits(pattern, path), "{pattern} and {path}");
        }
        for (pattern, path) in [
            ("/v2.1/servers", "/v2.1/servers/a"),
            ("/v2.1/servers", "/v2.1/server"),
            ("/v2.1/servers/*", "/v2.1/servers/"),
            ("/v2.1/servers/*", "/v2.1/servers/a/ips"),
            ("/v2.1/servers/{id}", "/v2.1/servers/a/ips"),
            // A dot is a dot, not any character.
            ("/v2.1/servers", "/v2x1/servers"),
            ("/v2.1/**/ips", "/v2.1/servers/a/metadata"),
            ("", "/v2.1"),
        ] {
            assert!(!fits(pattern, path), "{pattern} and {path}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends_in_good_time() {
        let pattern = "/**a".repeat(50) + "*".repeat(25).as_str();
        assert!(!fits(&pattern, &"/a".repeat(4_000)[1..]));
    }

    #[test]
    fn service_and_method_count_too() {
        let rule = AccessRule {
            id: AccessRuleId::from_random([1; 16]),
            created_at: Default::default(),
            updated_at: None,
            user_id: UserId::from_random([1; 16]),
            service: "compute".to_owned(),
            method: "GET".to_owned(),
            path: "/v2.1/servers".to_owned(),
            unknown: Default::default(),
        };
        assert!(rule.allows("compute", "GET", "/v2.1/servers"));
        assert!(!rule.allows("compute", "POST", "/v2.1/servers"));
        assert!(!rule.allows("image", "GET", "/v2.1/servers"));
    }
}
