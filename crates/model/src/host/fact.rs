//! Facts: what a host's agent measures there.

use super::{
    action::{ACTIONS_MAX, ActionResult, is_action_name},
    evidence::{check_length, check_text},
    host::{Capacity, Hypervisor},
    package::Packages,
    version::PackageFormat,
};
use crate::{
    Timestamp,
    error::{Error, Result},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The largest capacity of one host, in CPUs, MiB of memory or GiB of disk. Sums over hosts cannot overflow.
const CAPACITY_MAX: u64 = 1 << 30;

/// Declares the facts, all optional, with what follows from the list of their names.
macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident: $ty:ty,)*) => {
        /// Facts of a host. A registration has all facts that the agent measures; a report has those that changed.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Facts {
            $($(#[$doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $name: Option<$ty>,)*
        }

        impl Facts {
            /// The facts that differ from the known facts.
            pub fn since(&self, known: &Self) -> Self {
                Self { $($name: self.$name.clone().filter(|now| known.$name.as_ref() != Some(now)),)* }
            }

            /// Removes the facts that `other` has.
            pub fn clear(&mut self, other: &Self) {
                $(if other.$name.is_some() { self.$name = None; })*
            }

            /// Takes over the facts that `news` has.
            pub fn update(&mut self, news: Self) {
                $(if news.$name.is_some() { self.$name = news.$name; })*
            }
        }
    };
}

facts! {
    /// The kernel's boot id. It changes when the host restarts.
    boot_id: String,
    /// The host's address, for people.
    address: String,
    /// `address:port` where the agent listens for other hosts' agents; empty if it does not listen.
    peer_address: String,
    /// The resources.
    capacity: Capacity,
    /// The hypervisor and the network driver.
    hypervisor: Hypervisor,
    /// The release of the running kernel, as `uname -r` prints it.
    kernel: String,
    /// The release of the agent.
    agent: String,
    /// The last check that the agent carried out, of those that operators asked for.
    checked: u64,
    /// The last canary that ended, of those that were ordered.
    canary: u64,
    /// The names of hosts that it asks and that do not answer.
    unreached: Vec<String>,
    /// When the kernel booted, by the host's own clock.
    booted_at: Timestamp,
    /// The versions of software on the host, by their names (`super::rule::VERSION_NAMES`).
    versions: BTreeMap<String, String>,
    /// The package format of the host's distribution.
    package_format: PackageFormat,
    /// The host's packages.
    packages: Packages,
    /// The names of the actions that the host's own configuration allows.
    actions: Vec<String>,
    /// The last action that began, of those that were ordered.
    action: ActionResult,
}

impl Facts {
    /// True if there is no fact.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses facts that no host can have.
    ///
    /// # Errors
    /// A text is too long, or the capacity is more than any machine has. The message names the fact.
    pub fn check(&self) -> Result<()> {
        let texts = [
            ("boot_id", &self.boot_id),
            ("address", &self.address),
            ("peer_address", &self.peer_address),
            ("kernel", &self.kernel),
            ("agent", &self.agent),
        ];
        for (name, text) in texts {
            check_text(name, text.as_deref().unwrap_or_default())?;
        }
        check_text("packages", self.packages.as_ref().map_or("", |packages| &packages.digest))?;
        let actions = self.actions.as_deref().unwrap_or_default();
        if actions.len() > ACTIONS_MAX || !actions.iter().all(|name| is_action_name(name)) {
            return Err(Error::invalid(format!(
                "A host has at most {ACTIONS_MAX} actions, whose names have 1 to 64 letters, digits, hyphens, \
                 underscores and dots."
            )));
        }
        self.action.as_ref().map_or(Ok(()), ActionResult::check)?;
        let unreached = self.unreached.as_deref().unwrap_or_default();
        check_length("unreached", unreached.iter().map(String::len).sum())?;
        if let Some(Hypervisor { driver, acceleration, version: _, arch, cpu_model, wiring }) =
            &self.hypervisor
        {
            let networks = wiring.physical_networks.iter().map(String::len).sum::<usize>();
            let length = driver.len()
                + acceleration.len()
                + arch.len()
                + cpu_model.len()
                + wiring.driver.len()
                + networks;
            check_length("hypervisor", length)?;
        }
        let Capacity { vcpus, memory_mb, disk_gb } = self.capacity.unwrap_or_default();
        if vcpus > CAPACITY_MAX || memory_mb > CAPACITY_MAX || disk_gb > CAPACITY_MAX {
            return Err(Error::invalid(format!(
                "No machine has {vcpus} CPUs, {memory_mb} MiB of memory and {disk_gb} GiB of disk."
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::evidence::TEXT_BYTES_MAX;

    #[test]
    fn a_change_of_one_fact_is_that_fact_alone() {
        let text = |text: &str| Some(text.to_owned());
        let mut known = Facts { address: text("a"), kernel: text("6.1"), ..Facts::default() };
        let now = Facts { kernel: text("6.2"), ..known.clone() };
        let news = now.since(&known);
        assert_eq!(news, Facts { kernel: text("6.2"), ..Facts::default() });
        known.update(news);
        assert_eq!(known, now);
        assert!(now.since(&known).is_empty());
    }

    #[test]
    fn what_no_host_can_say_is_refused_by_name() {
        let refused = |facts: Facts| facts.check().unwrap_err().to_string();
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert!(refused(Facts { kernel: Some(long.clone()), ..Facts::default() }).contains("'kernel'"));
        let hypervisor = Hypervisor { cpu_model: long.clone(), ..Hypervisor::default() };
        assert!(refused(Facts { hypervisor: Some(hypervisor), ..Facts::default() }).contains("'hypervisor'"));
        let capacity = Capacity { vcpus: u64::MAX, ..Capacity::default() };
        assert!(refused(Facts { capacity: Some(capacity), ..Facts::default() }).contains("No machine"));
    }
}
