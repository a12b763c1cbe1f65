//! What rules about hosts ask of hosts.

use crate::{
    State,
    host::{evidence::CANARY, host::Host, rule::HostRule},
};
use std::collections::BTreeSet;

impl State {
    /// True if a rule asks the host for a canary. A draft asks, too: else nobody would see what it closes.
    pub fn must_run_canary(&self, host: &Host) -> bool {
        let candidate = self.host_table().hosts.get(&host.id);
        let class = candidate.and_then(|candidate| self.host_table().classes.get(candidate.class));
        let asks = |rule: &HostRule| {
            rule.check() == Some(CANARY) && class.is_some_and(|class| class.is_in(&rule.scope))
        };
        self.host_rules.values().any(|rule| asks(rule))
    }

    /// The packages that rules are about, in order. Drafts count: hosts must say their versions before anybody can see
    /// what such a rule closes.
    pub fn ruled_packages(&self) -> Vec<String> {
        let names = self.host_rules.values().filter_map(|rule| rule.package());
        names.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()
    }
}
