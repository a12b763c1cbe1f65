//! `GET /allocation_candidates`: the hosts that could provide the requested resources, as Placement shows them.
//!
//! A host is a tree of one provider, and hosts share no providers. So one host meets all groups of a request, or
//! no host does.

use super::{
    CLASSES, bad_query,
    group::{Group, has_room},
    inventory_of, traits,
};
use crate::microversion::Microversion;
use lenticular_model::{
    State,
    error::{Error, Result},
    host::host::Host,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A request for candidates.
#[derive(Debug, Default)]
pub struct Asked {
    groups: BTreeMap<String, Group>,
    limit: Option<usize>,
    root: Group,
    is_isolated: bool,
}

/// The parameters of a group, each with its first version.
const PARTS: &[(&str, u16)] = &[("resources", 10), ("required", 17), ("member_of", 21), ("in_tree", 31)];

/// Splits a parameter's name into the parameter of a group and the group's suffix.
fn part_of(name: &str, version: Microversion) -> Option<(&'static str, &str)> {
    let is_suffix = |text: &str| match version {
        _ if text.is_empty() => true,
        v if v.has(33) => {
            text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        }
        v => v.has(25) && !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()),
    };
    PARTS.iter().filter(|(_, since)| version.has(*since)).find_map(|(part, _)| {
        let suffix = name.strip_prefix(part)?;
        is_suffix(suffix).then_some((*part, suffix))
    })
}

/// Reads a request's query.
///
/// # Errors
/// The query is malformed, names an unknown object, or uses a parameter that the version does not have.
pub fn read(state: &State, query: &[(String, String)], version: Microversion) -> Result<Asked> {
    let mut asked = Asked::default();
    let mut subtrees: BTreeSet<String> = BTreeSet::new();
    let mut policy = None;
    let names: BTreeSet<&str> = query.iter().map(|(name, _)| name.as_str()).collect();
    for name in names {
        let values: Vec<&str> = query.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect();
        let first = values.first().copied().unwrap_or_default();
        match name {
            "limit" if version.has(16) => {
                let number = first.parse::<usize>().ok().filter(|n| *n >= 1 && !first.starts_with('+'));
                asked.limit =
                    Some(number.ok_or_else(|| bad_query(&format!("'{first}' is no limit, 1 or more")))?);
            }
            "group_policy" if version.has(25) => {
                if !["none", "isolate"].contains(&first) {
                    return Err(bad_query(&format!("'{first}' is not one of ['none', 'isolate']")));
                }
                policy = Some(first);
            }
            "root_required" if version.has(35) => {
                if values.len() > 1 {
                    return Err(Error::invalid(
                        "Query parameter 'root_required' may be specified only once.",
                    ));
                }
                // Only groups may name alternatives.
                asked.root.read(state, "required", &values, Microversion(38))?;
            }
            "same_subtree" if version.has(36) => {
                let suffixes = values.iter().flat_map(|list| list.split(',')).map(|s| s.trim().to_owned());
                subtrees.extend(suffixes);
            }
            _ => {
                let (part, suffix) = part_of(name, version).ok_or_else(|| {
                    bad_query(&format!("Additional properties are not allowed ('{name}' was unexpected)"))
                })?;
                let group = asked.groups.entry(suffix.to_owned()).or_default();
                group.read(state, part, &values, version)?;
            }
        }
    }
    check_groups(&asked.groups, &subtrees, version)?;
    let several = asked.groups.keys().filter(|suffix| !suffix.is_empty()).count() > 1;
    if several && policy.is_none() {
        return Err(Error::invalid(
            "The \"group_policy\" parameter is required when specifying more than one \"resources{N}\" parameter.",
        ));
    }
    asked.is_isolated = policy == Some("isolate");
    Ok(asked)
}

/// Checks that every group requests resources, or, from 1.36 on, is named in a subtree.
fn check_groups(
    groups: &BTreeMap<String, Group>,
    subtrees: &BTreeSet<String>,
    version: Microversion,
) -> Result<()> {
    if groups.values().all(|group| group.resources.is_empty()) {
        return Err(Error::invalid("There must be at least one resources or resources[$S] parameter."));
    }
    let bare = |(suffix, group): (&String, &Group)| {
        let is_named = version.has(36) && subtrees.contains(suffix);
        (group.resources.is_empty() && !is_named).then(|| suffix.clone())
    };
    if let Some(suffix) = groups.iter().find_map(bare) {
        return Err(Error::invalid(format!(
            "All request groups must specify resources; the group '{suffix}' does not. From 1.36 on, a group without \
             resources must be specified in `same_subtree`."
        )));
    }
    match subtrees.iter().find(|suffix| suffix.is_empty() || !groups.contains_key(*suffix)) {
        Some(suffix) => Err(Error::invalid(format!(
            "Real suffixes should be specified in `same_subtree`: '{suffix}' is none of this request's."
        ))),
        None => Ok(()),
    }
}

impl Asked {
    /// The total that all groups take of the one provider that meets them.
    fn total(&self) -> BTreeMap<String, u64> {
        let mut total: BTreeMap<String, u64> = BTreeMap::new();
        for (class, amount) in self.groups.values().flat_map(|group| &group.resources) {
            let sum = total.entry(class.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
        total
    }

    /// The hosts that could provide the resources, up to the requested limit.
    fn hosts<'s>(&'s self, state: &'s State) -> impl Iterator<Item = &'s Host> + 's {
        let total = self.total();
        // Isolated groups need separate providers, and every host has only one.
        let granular = self.groups.iter().filter(|(suffix, g)| !suffix.is_empty() && !g.resources.is_empty());
        let can_be = !(self.is_isolated && granular.count() > 1);
        let fits = move |host: &&Host| {
            can_be
                && self.root.is_met_by(state, host)
                && self.groups.values().all(|group| group.is_met_by(state, host))
                && has_room(state, host, &total)
        };
        state.hosts.values().map(|host| &**host).filter(fits).take(self.limit.unwrap_or(usize::MAX))
    }

    /// The answer to the request.
    pub fn answer(&self, state: &State, version: Microversion) -> Value {
        let total = self.total();
        let mut requests: Vec<Value> = Vec::new();
        let mut summaries = Map::new();
        for host in self.hosts(state) {
            requests.push(self.request(host, &total, version));
            summaries.insert(host.id.to_string(), summary(state, host, &total, version));
        }
        json!({"allocation_requests": requests, "provider_summaries": summaries})
    }

    /// The allocation request for a host.
    fn request(&self, host: &Host, total: &BTreeMap<String, u64>, version: Microversion) -> Value {
        if !version.has(12) {
            return json!({"allocations": [{"resource_provider": {"uuid": host.id}, "resources": total}]});
        }
        let mut request = json!({"allocations": {host.id.to_string(): {"resources": total}}});
        if version.has(34) {
            let all = self.groups.keys().map(|suffix| (suffix.clone(), json!([host.id])));
            request["mappings"] = Value::Object(all.collect());
        }
        request
    }
}

fn summary(state: &State, host: &Host, total: &BTreeMap<String, u64>, version: Microversion) -> Value {
    let shown = CLASSES.iter().filter(|class| version.has(27) || total.contains_key(**class));
    let resources: Map<String, Value> = shown
        .map(|class| {
            let inventory = inventory_of(state, host, class);
            ((*class).to_owned(), json!({"capacity": inventory.capacity, "used": inventory.used}))
        })
        .collect();
    let mut summary = json!({ "resources": resources });
    if version.has(17) {
        summary["traits"] = json!(traits(state, host));
    }
    if version.has(29) {
        summary["parent_provider_uuid"] = Value::Null;
        summary["root_provider_uuid"] = json!(host.id);
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_at(query: &str, version: u16) -> Result<Asked> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs: Vec<(String, String)> = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        read(
            &State::new(lenticular_model::Incarnation::from_random([1; 16]), Default::default()),
            &pairs,
            Microversion(version),
        )
    }

    const ONE: &str = "0b5f7a1e-0000-4000-8000-000000000000";

    #[test]
    fn each_parameter_is_taken_from_its_version_on() {
        for (query, since) in [
            ("limit=1", 16),
            ("required=HW_CPU_X86_AVX2", 17),
            (&*format!("member_of={ONE}"), 21),
            ("required=!HW_CPU_X86_AVX2", 22),
            (&*format!("member_of={ONE}&member_of=in:{ONE},{ONE}"), 24),
            ("resources1=VCPU:1", 25),
            ("group_policy=none", 25),
            (&*format!("in_tree={ONE}"), 31),
            (&*format!("member_of=!{ONE}"), 32),
            ("resources_a=VCPU:1&required_a=HW_CPU_X86_AVX2", 33),
            ("root_required=HW_CPU_X86_AVX2", 35),
            ("required1=HW_CPU_X86_AVX2&same_subtree=1", 36),
            ("required=in:HW_CPU_X86_AVX2,HW_CPU_X86_AVX", 39),
        ] {
            let query = format!("resources=VCPU:1&{query}");
            assert!(read_at(&query, since - 1).is_err(), "{query} at {}", since - 1);
            assert!(read_at(&query, since).is_ok(), "{query} at {since}: {:?}", read_at(&query, since));
        }
    }

    #[test]
    fn what_is_malformed_or_unknown_is_refused() {
        for query in [
            "",
            "resources=",
            "resources=VCPU",
            "resources=VCPU:0",
            "resources=VCPU:x",
            "resources=NOPE:1",
            "resources=VCPU:1&limit=0",
            "resources=VCPU:1&limit=x",
            "resources=VCPU:1&nosuch=1",
            "resources=VCPU:1&required=",
            "resources=VCPU:1&required=NOPE",
            "resources=VCPU:1&required=CUSTOM_NOBODY_HAS",
            "resources=VCPU:1&required=HW_CPU_X86_AVX,!HW_CPU_X86_AVX",
            "resources=VCPU:1&required=in:!HW_CPU_X86_AVX",
            "resources=VCPU:1&member_of=x",
            "resources=VCPU:1&in_tree=x",
            "resources=VCPU:1&group_policy=some",
            "resources1=VCPU:1&resources2=VCPU:1",
            "required=HW_CPU_X86_AVX",
            "resources1=VCPU:1&required2=HW_CPU_X86_AVX&group_policy=none",
            "resources=VCPU:1&same_subtree=1",
            "resources=VCPU:1&root_required=HW_CPU_X86_AVX&root_required=HW_CPU_X86_AVX",
        ] {
            assert!(read_at(query, 39).is_err(), "{query}");
        }
    }

    #[test]
    fn groups_are_summed_for_the_one_provider() {
        let asked = read_at("resources=VCPU:1,DISK_GB:2&resources1=VCPU:3&group_policy=none", 39).unwrap();
        let total: Vec<(String, u64)> = asked.total().into_iter().collect();
        assert_eq!(total, [("DISK_GB".to_owned(), 2), ("VCPU".to_owned(), 4)]);
    }
}
