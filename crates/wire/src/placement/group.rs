//! The requirements of a query for one provider: resources, traits, aggregates, a tree.

use super::{CLASSES, bad_query, has_trait, inventory_of, traits};
use crate::{
    compute::{extra_specs::is_resource_class, standard_trait::is_trait},
    microversion::Microversion,
};
use lenticular_model::{
    AggregateId, HostId, State,
    error::{Error, Result},
    host::host::Host,
};
use std::collections::{BTreeMap, BTreeSet};

/// One group of a query. Every host is a tree of one provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// The amount of each class.
    pub resources: BTreeMap<String, u64>,
    /// Required traits: one of each set.
    pub required: Vec<BTreeSet<String>>,
    /// Forbidden traits.
    pub forbidden: BTreeSet<String>,
    /// Required aggregates: one of each set.
    pub member_of: Vec<BTreeSet<AggregateId>>,
    /// Forbidden aggregates.
    pub not_member_of: BTreeSet<AggregateId>,
    /// The host that must be the tree's root.
    pub in_tree: Option<HostId>,
}

impl Group {
    /// Whether a host meets everything but the resources.
    pub fn is_met_by(&self, state: &State, host: &Host) -> bool {
        let aggregates: BTreeSet<AggregateId> = state.aggregate_ids_of_host(host.id).collect();
        let traits = traits(state, host);
        self.required.iter().all(|any| any.iter().any(|t| traits.contains(&t.as_str())))
            && !self.forbidden.iter().any(|t| traits.contains(&t.as_str()))
            && self.member_of.iter().all(|any| !any.is_disjoint(&aggregates))
            && self.not_member_of.is_disjoint(&aggregates)
            && self.in_tree.is_none_or(|id| id == host.id)
    }

    /// Reads one parameter into the group.
    ///
    /// # Errors
    /// The parameter is malformed, or names an unknown object.
    pub fn read(&mut self, state: &State, name: &str, values: &[&str], version: Microversion) -> Result<()> {
        let last = values.last().copied().unwrap_or_default();
        match name {
            "resources" => self.resources = read_resources(last)?,
            "required" => {
                // Before 1.39, a later value replaces an earlier one.
                let counts = if version.has(39) { values } else { std::slice::from_ref(&last) };
                counts.iter().try_for_each(|text| self.read_traits(state, text, version))?;
            }
            "member_of" if values.len() > 1 && !version.has(24) => {
                return Err(Error::invalid("Multiple member_of parameters are not supported"));
            }
            "member_of" => values.iter().try_for_each(|text| self.read_aggregates(text, version))?,
            _ => {
                let why = format!("Expected 'in_tree' parameter to be a format of uuid. Got: {last}");
                self.in_tree = Some(last.trim().parse().map_err(|_| bad_query(&why))?);
            }
        }
        Ok(())
    }

    fn read_traits(&mut self, state: &State, text: &str, version: Microversion) -> Result<()> {
        if let Some(any) = text.strip_prefix("in:") {
            if !version.has(39) {
                return Err(bad_query(&format!(
                    "The format 'in:…' is only supported since 1.39. Got: {text}"
                )));
            }
            let any = any.split(',').map(|one| read_trait(state, one, text)).collect::<Result<_>>()?;
            self.required.push(any);
            return Ok(());
        }
        for one in text.split(',').map(str::trim) {
            match one.strip_prefix('!') {
                Some(_) if !version.has(22) => {
                    return Err(bad_query(&format!(
                        "Expected 'required' parameter value of the form: HW_CPU_X86_VMX,CUSTOM_MAGIC. Got: {text}"
                    )));
                }
                Some(name) => {
                    self.forbidden.insert(read_trait(state, name, text)?);
                }
                None => self.required.push([read_trait(state, one, text)?].into()),
            }
        }
        let never = |any: &&BTreeSet<String>| any.is_subset(&self.forbidden);
        match self.required.iter().find(never) {
            Some(any) => Err(Error::invalid(format!(
                "Conflicting required and forbidden traits found in the following traits keys: required: {any:?}"
            ))),
            None => Ok(()),
        }
    }

    fn read_aggregates(&mut self, text: &str, version: Microversion) -> Result<()> {
        let (is_forbidden, rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if is_forbidden && !version.has(32) {
            let why = "Forbidden member_of parameters are not supported in the specified microversion";
            return Err(Error::invalid(why));
        }
        let several = rest.strip_prefix("in:");
        if several.is_none() && rest.contains(',') {
            return Err(Error::invalid(format!(
                "Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword using the valid \
                 microversion. Got: {text}"
            )));
        }
        let read = |one: &str| {
            one.parse().map_err(|_| {
                bad_query(&format!("Expected 'member_of' parameter to contain valid UUID(s). Got: {one}"))
            })
        };
        let ids = several.unwrap_or(rest).split(',').map(read).collect::<Result<BTreeSet<AggregateId>>>()?;
        match is_forbidden {
            true => self.not_member_of.extend(ids),
            false => self.member_of.push(ids),
        }
        Ok(())
    }
}

/// Reads `VCPU:2,MEMORY_MB:1024`.
fn read_resources(text: &str) -> Result<BTreeMap<String, u64>> {
    let malformed = || {
        Error::invalid(format!(
            "Badly formed resources parameter. Expected resources query string parameter in form: \
             ?resources=VCPU:2,MEMORY_MB:1024. Got: {text}."
        ))
    };
    let read = |one: &str| {
        let (class, amount) = one.split_once(':').ok_or_else(malformed)?;
        let number = amount.parse::<u64>().ok().filter(|n| *n >= 1).ok_or_else(|| {
            Error::invalid(format!("Requested resource {class} requires amount >= 1. Got: {amount}."))
        })?;
        if !is_resource_class(class) {
            return Err(Error::invalid(format!(
                "Invalid resource class in resources parameter: No such resource class {class}."
            )));
        }
        Ok((class.to_owned(), number))
    };
    text.split(',').map(read).collect()
}

/// Reads the name of a standard trait, or of a trait that a host has.
fn read_trait(state: &State, name: &str, all: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() || name.starts_with('!') {
        return Err(bad_query(&format!(
            "Expected 'required' to name traits. Got an empty or forbidden trait in: {all}"
        )));
    }
    let is_known = if name.starts_with("CUSTOM_") { has_trait(state, name) } else { is_trait(name) };
    match is_known {
        true => Ok(name.to_owned()),
        false => Err(Error::invalid(format!("No such trait(s): {name}."))),
    }
}

/// Whether a host has room for all these resources at once, beside its usage.
pub fn has_room(state: &State, host: &Host, wanted: &BTreeMap<String, u64>) -> bool {
    wanted.iter().all(|(class, amount)| {
        let class = CLASSES.iter().find(|known| *known == class);
        class.is_some_and(|class| {
            let inventory = inventory_of(state, host, class);
            *amount <= inventory.max_unit && amount.saturating_add(inventory.used) <= inventory.capacity
        })
    })
}
