//! Points in time: microseconds since 1970. The caller supplies them; this crate reads no clock.

use jiff::fmt::strtime;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time and `seconds` more.
    pub fn plus_s(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// This time and `milliseconds` more.
    pub fn plus_ms(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds.saturating_mul(1_000)))
    }

    /// Milliseconds from `earlier` to this time; negative if it is later.
    pub fn since_ms(self, earlier: Self) -> i64 {
        (self.0 - earlier.0) / 1_000
    }

    /// A number in the same order.
    pub(crate) fn ordered(self) -> u64 {
        self.0.cast_unsigned() ^ (1 << 63)
    }

    /// Whole seconds since 1970.
    pub fn unix_s(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// `2026-11-21T13:47:00Z`, as Nova, Neutron and Glance print times.
    pub fn iso(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%SZ")
    }

    /// `2026-11-21T13:47:00.000000`, as Nova prints some older fields.
    pub fn iso_naive_us(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S.%6f")
    }

    /// `2026-11-21T13:47:00.000000Z`, as Keystone prints times.
    pub fn iso_us(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S.%6fZ")
    }

    /// Reads an ISO 8601 time. Without an offset the time is UTC, as in OpenStack.
    pub fn parse(text: &str) -> Option<Self> {
        let zoned = text.parse::<jiff::Timestamp>().ok();
        let time = zoned.or_else(|| {
            let civil = text.parse::<jiff::civil::DateTime>().ok()?;
            civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp())
        })?;
        Some(Self(time.as_microsecond()))
    }

    /// The beginning and the end of the last calendar month that was over at this time.
    pub fn month_before(self) -> (Self, Self) {
        let time = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let end = jiff::tz::TimeZone::UTC.to_datetime(time).first_of_month().start_of_day();
        let begin = end.saturating_sub(jiff::Span::new().months(1));
        let at = |time: jiff::civil::DateTime| {
            let zoned = time.to_zoned(jiff::tz::TimeZone::UTC);
            Self(zoned.map_or(0, |zoned| zoned.timestamp().as_microsecond()))
        };
        (at(begin), at(end))
    }

    fn format(self, pattern: &str) -> String {
        let time = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        strtime::format(pattern, &time.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default()
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iso_us())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_and_parse_as_openstack_has_them() {
        let time = Timestamp(1_424_783_096_000_123);
        assert_eq!(time.iso(), "2015-02-24T13:04:56Z");
        assert_eq!(time.iso_us(), "2015-02-24T13:04:56.000123Z");
        assert_eq!(Timestamp::parse(&time.iso_us()), Some(time));
        assert_eq!(Timestamp::parse("2015-02-24T13:04:56"), Some(Timestamp(1_424_783_096_000_000)));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
