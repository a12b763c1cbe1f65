//! Versions of software on hosts: their order, as the host's distribution has it, and ranges of versions.

use super::package::{PACKAGES_MAX, package_of};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, collections::BTreeMap, fmt, str::FromStr};

/// The package format of a distribution, which decides the order of versions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackageFormat {
    /// Debian's and Ubuntu's (deb-version(7)).
    #[default]
    Dpkg,
    /// Red Hat's and SUSE's (rpm-version(7)).
    Rpm,
}

impl PackageFormat {
    /// Compares two versions. Every text is a version: what has no meaning is compared as text.
    pub fn compare(self, a: &str, b: &str) -> Ordering {
        // Microcode has numbers in hex.
        if let (Some(a), Some(b)) = (hex(a), hex(b)) {
            return a.cmp(&b);
        }
        let ((epoch_a, a), (epoch_b, b)) = (epoch(a), epoch(b));
        // The revision begins after the last hyphen.
        let split = |text| str::rsplit_once(text, '-').unwrap_or((text, ""));
        let ((version_a, revision_a), (version_b, revision_b)) = (split(a), split(b));
        let part = |a, b| match self {
            Self::Dpkg => compare_dpkg(a, b),
            Self::Rpm => compare_rpm(a, b),
        };
        epoch_a
            .cmp(&epoch_b)
            .then_with(|| part(version_a, version_b))
            .then_with(|| part(revision_a, revision_b))
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// The epoch before the first colon, 0 without one, and the rest.
fn epoch(text: &str) -> (u64, &str) {
    match text.split_once(':').map(|(epoch, rest)| (epoch.parse(), rest)) {
        Some((Ok(epoch), rest)) => (epoch, rest),
        _ => (0, text),
    }
}

/// The longest beginning of `text` whose bytes all fit, taken off it.
fn take<'t>(text: &mut &'t [u8], fits: impl Fn(u8) -> bool) -> &'t [u8] {
    let length = text.iter().take_while(|byte| fits(**byte)).count();
    let (head, rest) = text.split_at(length);
    *text = rest;
    head
}

/// Compares two numbers of any length.
fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let strip = |number: &[u8]| number.iter().skip_while(|byte| **byte == b'0').copied().collect::<Vec<u8>>();
    let (a, b) = (strip(a), strip(b));
    a.len().cmp(&b.len()).then(a.cmp(&b))
}

/// Compares parts by turns: first what is no number, then a number. A tilde sorts before the end, letters before other
/// characters.
fn compare_dpkg(a: &str, b: &str) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    };
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let text = [take(&mut a, |byte| !byte.is_ascii_digit()), take(&mut b, |byte| !byte.is_ascii_digit())];
        for n in 0..text[0].len().max(text[1].len()) {
            let order = weight(text[0].get(n)).cmp(&weight(text[1].get(n)));
            if order.is_ne() {
                return order;
            }
        }
        let order = compare_numbers(
            take(&mut a, |byte| byte.is_ascii_digit()),
            take(&mut b, |byte| byte.is_ascii_digit()),
        );
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Compares segments of digits or of letters. Other characters only separate them. A tilde sorts before the end, a caret
/// after it and before everything else.
fn compare_rpm(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let separates = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'~' && byte != b'^';
    loop {
        take(&mut a, separates);
        take(&mut b, separates);
        match (a.first(), b.first()) {
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(b'^'), _) => return Ordering::Less,
            (_, Some(b'^')) => return Ordering::Greater,
            _ => {}
        }
        let is_number = a[0].is_ascii_digit();
        let same = |byte: u8| if is_number { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
        let (first, second) = (take(&mut a, same), take(&mut b, same));
        let order = match (second.is_empty(), is_number) {
            // A number is newer than letters.
            (true, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, true) => compare_numbers(first, second),
            (false, false) => first.cmp(second),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// How a version relates to a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

impl Relation {
    /// The longer signs first, so that `>=` is not read as `>`.
    const SIGNS: [(&'static str, Self); 6] = [
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("!=", Self::NotEqual),
        ("<", Self::Less),
        (">", Self::Greater),
        ("=", Self::Equal),
    ];

    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Greater => order.is_gt(),
        }
    }
}

/// A range of versions, such as `>=3.13.0-24 <3.13.0-46`: a version is in the range if all bounds hold. `*` is every
/// version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range {
    text: String,
    bounds: Vec<(Relation, String)>,
}

/// The most bounds of a range, and the longest text of a bound.
const BOUNDS_MAX: usize = 8;
const BOUND_BYTES_MAX: usize = 128;

impl Range {
    /// True if the version is in the range.
    pub fn contains(&self, format: PackageFormat, version: &str) -> bool {
        self.bounds.iter().all(|(relation, bound)| relation.holds(format.compare(version, bound)))
    }

    /// True if no version is in the range.
    fn is_empty(&self, format: PackageFormat) -> bool {
        use Relation::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        let excludes = |(relation, bound): &(Relation, String), (other, at): &(Relation, String)| {
            let order = format.compare(bound, at);
            match (relation, other) {
                // An exact version is in the range or nothing is.
                (Equal, other) => !other.holds(order),
                (GreaterOrEqual, LessOrEqual) => order.is_gt(),
                (Greater, Less | LessOrEqual) | (GreaterOrEqual, Less) => order.is_ge(),
                (Less | LessOrEqual | NotEqual | Greater | GreaterOrEqual, _) => false,
            }
        };
        self.bounds.iter().any(|bound| self.bounds.iter().any(|other| excludes(bound, other)))
    }
}

impl FromStr for Range {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let words = text.split([' ', ',']).filter(|word| !word.is_empty());
        let mut bounds = Vec::new();
        let mut all = false;
        for word in words {
            let sign = Relation::SIGNS.iter().find_map(|(sign, is)| Some((*is, word.strip_prefix(sign)?)));
            match sign.unwrap_or((Relation::Equal, word)) {
                (_, "*") => all = true,
                (relation, version) if is_version(version) => bounds.push((relation, version.to_owned())),
                (_, version) => return Err(not_a_range(text, &why_no_version(word, version))),
            }
        }
        if all && !bounds.is_empty() {
            return Err(not_a_range(text, "'*' is every version, so no other bound can stand beside it"));
        }
        if bounds.is_empty() && !all {
            return Err(not_a_range(text, "it is empty"));
        }
        if bounds.len() > BOUNDS_MAX {
            return Err(not_a_range(text, &format!("it has more than {BOUNDS_MAX} bounds")));
        }
        let range = Self { text: text.trim().to_owned(), bounds };
        match [PackageFormat::Dpkg, PackageFormat::Rpm].iter().all(|format| range.is_empty(*format)) {
            true => Err(not_a_range(text, "no version is in it")),
            false => Ok(range),
        }
    }
}

/// The name of the digest of the agent's configuration. It is no version that a rule can be about: each host may have
/// another.
pub const CONFIGURATION: &str = "configuration";

/// The version of a package that is not installed.
pub const NOT_INSTALLED: &str = "";

/// The most versions of a host beside packages, and the longest name of one.
const VERSIONS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 64;

/// The versions of a host without what is none: a text that no distribution has as a version, or a name that no rule can
/// name. The rest of what the host says counts.
pub fn sane(versions: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let is_name = |name: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
    };
    let is_sane = |(name, version): &(String, String)| match package_of(name) {
        Some(_) => version == NOT_INSTALLED || is_version(version),
        None => is_name(name) && is_version(version),
    };
    let (packages, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        versions.into_iter().filter(is_sane).partition(|(name, _)| package_of(name).is_some());
    others.into_iter().take(VERSIONS_MAX).chain(packages.into_iter().take(PACKAGES_MAX)).collect()
}

/// True if a distribution may have this text as a version.
pub fn is_version(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".+-~:^_".contains(&byte);
    (1..=BOUND_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits)
}

fn why_no_version(word: &str, version: &str) -> String {
    match version.chars().next() {
        None => format!("'{word}' has no version; no space belongs between a sign and its version"),
        Some('>' | '<') => format!("'{word}' has a wrong sign; the signs are >=, >, <=, <, = and !="),
        Some(_) => format!("'{word}' has no version"),
    }
}

fn not_a_range(text: &str, why: &str) -> Error {
    let text: String = text.chars().take(BOUND_BYTES_MAX).collect();
    Error::invalid(format!(
        "'{text}' is no range of versions: {why}. Give bounds such as '>=3.13.0-24 <3.13.0-46', or '*' for every version."
    ))
}

impl TryFrom<String> for Range {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.text
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
#[path = "version_tests.rs"]
mod tests;
