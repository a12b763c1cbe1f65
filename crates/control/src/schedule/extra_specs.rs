//! The operators of a flavor's extra specs, as in Nova: `>= 8`, `s== ssd`, `<in> gpu`, `<or> a <or> b`, `<all-in> a
//! b`.

/// Numbers by relation. A lone `=` means "at least", as in Nova.
type Numbers = fn(f64, f64) -> bool;
type Texts = fn(&str, &str) -> bool;

/// Longer operators come before operators that they begin with.
const TEXTS: &[(&str, Texts)] = &[
    ("s==", |has, wants| has == wants),
    ("s!=", |has, wants| has != wants),
    ("s>=", |has, wants| has >= wants),
    ("s<=", |has, wants| has <= wants),
    ("s>", |has, wants| has > wants),
    ("s<", |has, wants| has < wants),
];

const NUMBERS: &[(&str, Numbers)] = &[
    ("==", |has, wants| has == wants),
    ("!=", |has, wants| has != wants),
    (">=", |has, wants| has >= wants),
    ("<=", |has, wants| has <= wants),
    ("=", |has, wants| has >= wants),
    (">", |has, wants| has > wants),
    ("<", |has, wants| has < wants),
];

/// Whether a value fulfils a spec.
pub fn matches(has: &str, wants: &str) -> bool {
    let wants = wants.trim();
    if let Some(rest) = wants.strip_prefix("<or>") {
        return rest.split("<or>").any(|one| one.trim() == has);
    }
    if let Some(rest) = wants.strip_prefix("<all-in>") {
        return rest.split_whitespace().all(|one| has.contains(one));
    }
    if let Some(rest) = wants.strip_prefix("<in>") {
        return has.contains(rest.trim());
    }
    if let Some((rest, holds)) = TEXTS.iter().find_map(|(op, f)| Some((wants.strip_prefix(op)?, f))) {
        return holds(has, rest.trim());
    }
    if let Some((rest, holds)) = NUMBERS.iter().find_map(|(op, f)| Some((wants.strip_prefix(op)?, f))) {
        // Text that is no number is neither more nor less than a number.
        let numbers = has.trim().parse().ok().zip(rest.trim().parse().ok());
        return numbers.is_some_and(|(has, wants)| holds(has, wants));
    }
    has == wants
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_mean_what_nova_says() {
        for (has, wants, holds) in [
            ("ssd", "ssd", true),
            ("ssd", "hdd", false),
            ("12", "= 8", true),
            ("7", "= 8", false),
            ("8", ">=8", true),
            ("8.5", "> 8", true),
            ("8", "< 8", false),
            ("8", "<= 8.0", true),
            ("08", "== 8", true),
            ("08", "s== 8", false),
            ("8", "!= 9", true),
            ("many", ">= 8", false),
            ("many", "!= 8", false),
            ("b", "s> a", true),
            ("b", "s<= a", false),
            ("b", "s!= a", true),
            ("a", "<or> a <or> b", true),
            ("b", "<or> a <or> b", true),
            ("ab", "<or> a <or> b", false),
            ("12311321", "<in> 11", true),
            ("12310321", "<in> 11", false),
            ("aes mmx aux", "<all-in> aes mmx", true),
            ("aes aux", "<all-in> aes mmx", false),
        ] {
            assert_eq!(matches(has, wants), holds, "{has:?} against {wants:?}");
        }
    }
}
