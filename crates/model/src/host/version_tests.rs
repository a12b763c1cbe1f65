//! Tests of the order of versions, with the distributions' own tools where they are installed.

use super::*;
use proptest::prelude::*;
use std::process::Command;

/// Pairs that the manuals of the tools, or their own tests, have. The first is older.
const OLDER: &[(PackageFormat, &str, &str)] = &[
    (PackageFormat::Dpkg, "3.13.0-24.46", "3.13.0-46.77"),
    (PackageFormat::Dpkg, "3.13.0-24", "3.13.0-24.46"),
    (PackageFormat::Dpkg, "1.0~rc1", "1.0"),
    (PackageFormat::Dpkg, "1.0~~", "1.0~"),
    (PackageFormat::Dpkg, "9", "1:1"),
    (PackageFormat::Dpkg, "6.1.9-1", "6.1.115-1"),
    (PackageFormat::Dpkg, "1.0a", "1.0+"),
    (PackageFormat::Dpkg, "10.0.2+ds-2+deb13u1~bpo12+1", "10.0.2+ds-2+deb13u1"),
    (PackageFormat::Rpm, "4.18.0-80.el8", "4.18.0-147.el8"),
    (PackageFormat::Rpm, "1.0~rc1", "1.0"),
    (PackageFormat::Rpm, "1.0", "1.0^git1"),
    (PackageFormat::Rpm, "1.0^git1", "1.0.1"),
    (PackageFormat::Rpm, "1.a", "1.1"),
    (PackageFormat::Rpm, "xyz", "8"),
    (PackageFormat::Rpm, "2.0", "2.0.1a"),
];

#[test]
fn versions_have_the_order_of_their_distribution() {
    for (format, older, newer) in OLDER {
        assert_eq!(format.compare(older, newer), Ordering::Less, "{older} {newer}");
        assert_eq!(format.compare(newer, older), Ordering::Greater, "{newer} {older}");
        assert_eq!(format.compare(older, older), Ordering::Equal, "{older}");
    }
    assert_eq!(PackageFormat::Rpm.compare("1.05", "1.5"), Ordering::Equal);
    assert_eq!(PackageFormat::Dpkg.compare("1.0-0", "1.0"), Ordering::Equal);
}

/// What a tool says of the order; `None` if it is not installed.
#[expect(
    clippy::disallowed_methods,
    reason = "the distribution's own tool is what the order is compared with"
)]
fn by_tool(format: PackageFormat, a: &str, b: &str) -> Option<Ordering> {
    match format {
        PackageFormat::Dpkg => {
            let is = |relation: &str| {
                let mut tool = Command::new("dpkg");
                tool.args(["--compare-versions", a, relation, b]).status().ok().map(|status| status.success())
            };
            Some(match (is("lt")?, is("gt")?) {
                (true, _) => Ordering::Less,
                (_, true) => Ordering::Greater,
                _ => Ordering::Equal,
            })
        }
        PackageFormat::Rpm => {
            let script = format!("%{{lua:print(rpm.vercmp('{a}','{b}'))}}");
            let said = Command::new("rpm").args(["--eval", &script]).output().ok()?;
            Some(String::from_utf8(said.stdout).ok()?.trim().parse::<i32>().ok()?.cmp(&0))
        }
    }
}

/// Versions in which all rules of the order meet: few characters, so that pairs are often alike.
fn version() -> impl Strategy<Value = String> {
    "([12]:)?[0-9][0-9a.~+]{0,6}(-[0-9][0-9a.~+]{0,4})?"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_is_the_one_of_the_tool(a in version(), b in version()) {
        for format in [PackageFormat::Dpkg, PackageFormat::Rpm] {
            if let Some(order) = by_tool(format, &a, &b) {
                prop_assert_eq!(format.compare(&a, &b), order, "{:?}: {} {}", format, a, b);
            }
        }
    }
}

#[test]
fn a_range_has_the_versions_between_its_bounds() {
    let range: Range = ">=3.13.0-24 <3.13.0-46".parse().unwrap();
    let has = |version| range.contains(PackageFormat::Dpkg, version);
    assert!(has("3.13.0-24.46") && has("3.13.0-45.74") && !has("3.13.0-46.77") && !has("3.12.9-1"));
    assert!("*".parse::<Range>().unwrap().contains(PackageFormat::Rpm, "0"));
    assert!("1.2".parse::<Range>().unwrap().contains(PackageFormat::Dpkg, "1.2"));
    let range: Range = "!=1.2,>1".parse().unwrap();
    assert!(range.contains(PackageFormat::Dpkg, "1.3") && !range.contains(PackageFormat::Dpkg, "1.2"));
}

#[test]
fn what_is_no_range_is_refused() {
    for (text, why) in [
        ("", "it is empty"),
        (">=", "has no version"),
        ("> 1", "has no version"),
        (">=1 \u{1b}[31m", "has no version"),
        (">2 <1", "no version is in it"),
        (">=2 <2", "no version is in it"),
        ("=1 =2", "no version is in it"),
        ("=1 >1", "no version is in it"),
        ("1 2 3 4 5 6 7 8 9", "more than 8 bounds"),
    ] {
        let error = text.parse::<Range>().unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn a_range_is_kept_as_it_was_written() {
    let range: Range = ">=1  <2".parse().unwrap();
    let doc = serde_json::to_string(&range).unwrap();
    assert_eq!(doc, "\">=1  <2\"");
    assert_eq!(serde_json::from_str::<Range>(&doc).unwrap(), range);
    assert!(serde_json::from_str::<Range>("\">2 <1\"").is_err());
}
