//! Microversions: the minor version of an API that a request uses (Nova's and Placement's scheme).

use std::{fmt, str::FromStr};

/// A version `2.N` or `1.N`: the service has one major version, and this is the minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Microversion(pub u16);

/// The range of microversions of a service.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The service's name in the `OpenStack-API-Version` header.
    pub service: &'static str,
    /// The header of old clients, if the service has one.
    pub legacy_header: Option<&'static str>,
    /// The major version.
    pub major: u16,
    /// The lowest minor version; also the version of a request without a header.
    pub min: u16,
    /// The highest minor version.
    pub max: u16,
}

/// Nova's range.
pub const COMPUTE: Range = Range {
    service: "compute",
    legacy_header: Some("x-openstack-nova-api-version"),
    major: 2,
    min: 1,
    max: 100,
};

/// Placement's range.
pub const PLACEMENT: Range = Range { service: "placement", legacy_header: None, major: 1, min: 0, max: 39 };

/// Why a version is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The text is not a version (400).
    Malformed(String),
    /// The version lies outside the range (406).
    Outside(String),
}

impl Range {
    /// The version that a header's text requests.
    pub fn negotiate(&self, text: Option<&str>) -> Result<Microversion, Refusal> {
        let Some(text) = text.map(str::trim) else { return Ok(Microversion(self.min)) };
        if text == "latest" {
            return Ok(Microversion(self.max));
        }
        let malformed = || {
            Refusal::Malformed(format!(
                "API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum."
            ))
        };
        let (major, minor) = text.split_once('.').ok_or_else(malformed)?;
        let plain = |s: &str| {
            !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()) && (s == "0" || !s.starts_with('0'))
        };
        if !(plain(major) && plain(minor)) {
            return Err(malformed());
        }
        let major = u16::from_str(major).map_err(|_| malformed())?;
        let minor = u16::from_str(minor).map_err(|_| malformed())?;
        if major != self.major || !(self.min..=self.max).contains(&minor) {
            return Err(Refusal::Outside(format!(
                "Version {text} is not supported by the API. Minimum is {}.{} and maximum is {}.{}.",
                self.major, self.min, self.major, self.max
            )));
        }
        Ok(Microversion(minor))
    }

    /// The part of an `OpenStack-API-Version` header for this service.
    pub fn of_header<'h>(&self, header: &'h str) -> Option<&'h str> {
        header
            .split(',')
            .find_map(|part| part.trim().strip_prefix(self.service)?.strip_prefix(' ').map(str::trim))
    }
}

impl Microversion {
    /// Whether the version has a field or an action that exists from `minor` on.
    pub fn has(self, minor: u16) -> bool {
        self.0 >= minor
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The versions of a field in a request or an answer: from `since` until before `until`.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The field's name.
    pub name: &'static str,
    /// The first minor version that has it.
    pub since: u16,
    /// The first minor version without it.
    pub until: u16,
}

/// A field that exists from a version on.
pub const fn since(name: &'static str, since: u16) -> Field {
    Field { name, since, until: u16::MAX }
}

/// A field that exists until before a version.
pub const fn until(name: &'static str, until: u16) -> Field {
    Field { name, since: 0, until }
}

impl Field {
    /// Whether a version has the field.
    pub fn is_in(&self, version: Microversion) -> bool {
        (self.since..self.until).contains(&version.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_negotiated_as_nova_does() {
        assert_eq!(COMPUTE.negotiate(None), Ok(Microversion(1)));
        assert_eq!(COMPUTE.negotiate(Some("latest")), Ok(Microversion(100)));
        assert_eq!(COMPUTE.negotiate(Some("2.53")), Ok(Microversion(53)));
        for bad in ["", "2", "2.", "2.01", "two.one", "2.1.1", "-2.1"] {
            assert!(matches!(COMPUTE.negotiate(Some(bad)), Err(Refusal::Malformed(_))), "{bad}");
        }
        for outside in ["2.0", "2.101", "3.1", "1.1"] {
            assert!(matches!(COMPUTE.negotiate(Some(outside)), Err(Refusal::Outside(_))), "{outside}");
        }
        assert_eq!(COMPUTE.of_header("placement 1.2, compute 2.53"), Some("2.53"));
        assert_eq!(COMPUTE.of_header("volume 3.1"), None);
    }
}
