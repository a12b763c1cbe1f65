//! The host itself: the orders about it, and what the control plane has been told of its facts and evidence.
//!
//! ```text
//!            order: check n              begin_check                 checked
//!   Idle ──────────────────────▶ Due ──────────────────▶ Checking ─────────────▶ Idle, and n is reported
//!                                 ▲     the agent restarts    │
//!                                 └───────────────────────────┘
//! ```
//!
//! `lenticular_model::host::action` shows the states of an action.

use lenticular_model::{
    ServerId,
    host::{
        action::{ActionOrder, ActionResult, ActionState, REBOOT},
        canary::CanaryOrder,
        evidence::{BRIDGE, CANARY, Evidence, Level, TUNNELS},
        fact::Facts,
        host::{HostOrder, Hypervisor},
        probe::ProbeOrder,
    },
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The part that survives the agent's end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedHost {
    order: HostOrder,
    /// The last check that was carried out.
    checked: u64,
    /// The last canary that ended.
    #[serde(default)]
    canary: u64,
    /// The last action that began.
    #[serde(default)]
    action: Option<ActionResult>,
}

/// What the host knows of itself.
#[derive(Debug, Clone, Default)]
pub struct HostState {
    saved: SavedHost,
    checking: bool,
    runs_canary: bool,
    facts: Facts,
    evidence: BTreeMap<String, (Option<String>, Level)>,
    told_facts: Facts,
    told_evidence: BTreeMap<String, (Option<String>, Level)>,
}

impl HostState {
    pub(super) fn restore(mut saved: SavedHost) -> Self {
        if let Some(action) = &mut saved.action
            && action.state == ActionState::Running
        {
            action.state = ActionState::Interrupted;
        }
        Self { saved, ..Self::default() }
    }

    pub(super) fn saved(&self) -> SavedHost {
        self.saved.clone()
    }

    pub(super) fn order(&mut self, order: HostOrder) {
        // The host's record is another than before: its checks are numbered anew.
        if order.check < self.saved.checked {
            self.saved.checked = order.check.saturating_sub(1);
        }
        let canaries = order.canary.as_ref().map_or(0, |canary| canary.number);
        if canaries < self.saved.canary {
            self.saved.canary = canaries.saturating_sub(1);
        }
        self.saved.order = order;
    }

    /// Another incarnation of the store begins: its orders count from its own numbers.
    pub(super) fn clear_order(&mut self) {
        self.saved = SavedHost::default();
    }

    /// Takes in what was measured. Facts that are not given stay as they are.
    pub fn measured(&mut self, facts: Facts, evidence: Vec<Evidence>) {
        self.facts.update(facts);
        self.evidence.extend(evidence.into_iter().map(|seen| (seen.check, (seen.trouble, seen.level))));
    }

    /// True if a check has this result already. The texts of most checks have numbers that change each time, so only
    /// another level is news. The texts of the probe's checks have names of hosts.
    pub fn is_known(&self, seen: &Evidence) -> bool {
        let Some((trouble, level)) = self.evidence.get(&seen.check) else { return false };
        let same = (trouble.is_some(), *level) == (seen.trouble.is_some(), seen.level);
        same && (*trouble == seen.trouble || ![BRIDGE, TUNNELS].contains(&seen.check.as_str()))
    }

    /// The hypervisor, as it was last measured.
    pub fn hypervisor(&self) -> Option<&Hypervisor> {
        self.facts.hypervisor.as_ref()
    }

    /// The check to carry out now, if one is due. Must be answered with [`super::Core::checked`].
    pub fn begin_check(&mut self) -> Option<u64> {
        let due = !self.checking && self.saved.order.check > self.saved.checked;
        self.checking |= due;
        due.then_some(self.saved.order.check)
    }

    pub(super) fn checked(&mut self, number: u64) {
        self.checking = false;
        // A check of an earlier incarnation of the store is no check of this one.
        if number <= self.saved.order.check {
            self.saved.checked = number;
        }
    }

    /// The canary to run now, if one is ordered. Must be answered with [`super::Core::canary_ended`].
    pub fn begin_canary(&mut self) -> Option<CanaryOrder> {
        let ordered = self.saved.order.canary.clone();
        let due = ordered.filter(|canary| !self.runs_canary && canary.number > self.saved.canary);
        self.runs_canary |= due.is_some();
        due
    }

    /// The id of the host's canary; `None` if it never ran one.
    pub fn canary(&self) -> Option<ServerId> {
        self.saved.order.canary.as_ref().map(|canary| canary.server_id)
    }

    pub(super) fn canary_ended(&mut self, number: u64) {
        self.runs_canary = false;
        // The control plane gave the last result up when the host changed, so the same one is news.
        self.told_evidence.remove(CANARY);
        if self.saved.order.canary.as_ref().is_some_and(|canary| number <= canary.number) {
            self.saved.canary = number;
        }
    }

    /// The action to run now, if one is ordered for this boot. It is noted as running: once that is durable, it may begin.
    /// Must be answered with [`super::Core::action_ended`].
    pub(super) fn begin_action(&mut self, boot_id: &str) -> Option<ActionOrder> {
        let order = self.saved.order.action.clone().filter(|order| order.boot_id == boot_id)?;
        let last = self.saved.action.as_ref();
        let is_free =
            last.is_none_or(|last| last.number < order.number && last.state != ActionState::Running);
        is_free.then(|| {
            self.saved.action = Some(ActionResult { number: order.number, state: ActionState::Running });
            order
        })
    }

    /// True if the action that is ordered boots the host.
    pub(super) fn is_to_boot(&self) -> bool {
        self.saved.order.action.as_ref().is_some_and(|order| order.name == REBOOT)
    }

    pub(super) fn action_ended(&mut self, ended: ActionResult) {
        if self.saved.action.as_ref().is_some_and(|action| action.number == ended.number) {
            self.saved.action = Some(ended);
        }
    }

    /// The hosts to ask whether they answer; `None` if the host has no probe port.
    pub fn probe(&self) -> Option<&ProbeOrder> {
        self.saved.order.probe.as_ref()
    }

    /// The packages that rules name.
    pub fn ruled_packages(&self) -> &[String] {
        &self.saved.order.packages
    }

    fn now(&self) -> Facts {
        Facts {
            checked: Some(self.saved.checked),
            canary: Some(self.saved.canary),
            action: self.saved.action.clone(),
            ..self.facts.clone()
        }
    }

    /// Everything, for a registration. Until the next registration, reports have only what changed since.
    pub fn introduce(&mut self) -> (Facts, Vec<Evidence>) {
        let facts = self.now();
        let evidence = as_list(&self.evidence);
        self.told(&facts, &evidence);
        (facts, evidence)
    }

    /// What changed since the control plane was told. Until [`HostState::told`], nobody knows whether the control
    /// plane was told: a value that goes back to the one before is news again.
    pub fn news(&mut self) -> (Facts, Vec<Evidence>) {
        let mut evidence = self.evidence.clone();
        evidence.retain(|check, found| self.told_evidence.get(check) != Some(found));
        let facts = self.now().since(&self.told_facts);
        self.told_facts.clear(&facts);
        self.told_evidence.retain(|check, _| !evidence.contains_key(check));
        (facts, as_list(&evidence))
    }

    /// The control plane has made this durable.
    pub fn told(&mut self, facts: &Facts, evidence: &[Evidence]) {
        self.told_facts.update(facts.clone());
        let told = evidence.iter().map(|seen| (seen.check.clone(), (seen.trouble.clone(), seen.level)));
        self.told_evidence.extend(told);
    }
}

fn as_list(evidence: &BTreeMap<String, (Option<String>, Level)>) -> Vec<Evidence> {
    let one = |(check, (trouble, level)): (&String, &(Option<String>, Level))| Evidence {
        check: check.clone(),
        trouble: trouble.clone(),
        level: *level,
    };
    evidence.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(trouble: Option<&str>) -> Vec<Evidence> {
        vec![Evidence::new("network", trouble.map(str::to_owned))]
    }

    #[test]
    fn a_change_is_told_alone_until_it_is_durable() {
        let mut host = HostState::default();
        let facts = |kernel: &str| Facts { kernel: Some(kernel.to_owned()), ..Facts::default() };
        host.measured(facts("6.1"), evidence(None));
        let (all, seen) = host.introduce();
        assert_eq!((all.kernel.as_deref(), seen), (Some("6.1"), evidence(None)));
        assert_eq!(host.news(), (Facts::default(), vec![]));

        host.measured(Facts::default(), evidence(Some("br-int is gone")));
        host.measured(facts("6.1"), vec![]);
        let news = host.news();
        assert_eq!(news, (Facts::default(), evidence(Some("br-int is gone"))));
        assert_eq!(host.news(), news, "until the control plane has it");
        host.told(&news.0, &news.1);
        assert_eq!(host.news(), (Facts::default(), vec![]));
    }

    #[test]
    fn what_goes_back_while_a_report_is_under_way_is_told_again() {
        let mut host = HostState::default();
        host.measured(Facts::default(), evidence(None));
        host.introduce();
        host.measured(Facts::default(), evidence(Some("br-int is gone")));
        assert_eq!(host.news().1, evidence(Some("br-int is gone")));
        // The answer is lost: the control plane may have the report.
        host.measured(Facts::default(), evidence(None));
        assert_eq!(host.news().1, evidence(None));
    }

    #[test]
    fn each_canary_is_told_also_with_the_same_result() {
        let order = |number| {
            let canary = lenticular_model::host::canary::order(Default::default(), 1, number);
            HostOrder { canary, ..HostOrder::default() }
        };
        let mut host = HostState::default();
        host.order(order(1));
        for number in [1, 2] {
            host.order(order(number));
            assert_eq!(host.begin_canary().map(|canary| canary.number), Some(number));
            assert_eq!(host.begin_canary(), None, "it runs");
            host.measured(Facts::default(), vec![Evidence::new(CANARY, None)]);
            host.canary_ended(number);
            let (facts, evidence) = host.news();
            assert_eq!((facts.canary, evidence), (Some(number), vec![Evidence::new(CANARY, None)]));
            host.told(&facts, &[Evidence::new(CANARY, None)]);
            assert_eq!(host.news(), (Facts::default(), vec![]));
        }
    }

    #[test]
    fn an_action_begins_once_in_the_boot_that_its_order_names() {
        let ordered = |number, boot_id: &str| {
            let (name, boot_id) = ("reboot".to_owned(), boot_id.to_owned());
            HostOrder {
                action: Some(ActionOrder { number, name, boot_id, expect: String::new() }),
                ..HostOrder::default()
            }
        };
        let told = |host: &mut HostState| host.introduce().0.action.map(|action| action.state);
        let mut host = HostState::default();
        host.order(ordered(7, "one"));
        assert_eq!((host.begin_action("two"), told(&mut host)), (None, None), "the host has booted since");
        assert_eq!(host.begin_action("one").map(|order| order.number), Some(7));
        assert_eq!((host.begin_action("one"), told(&mut host)), (None, Some(ActionState::Running)));
        // The agent dies while it runs.
        let mut after = HostState::restore(host.saved());
        assert_eq!((after.begin_action("one"), told(&mut after)), (None, Some(ActionState::Interrupted)));
        after.order(ordered(8, "one"));
        assert!(after.begin_action("one").is_some());
        let ended = ActionState::Ended { trouble: None, output: "it goes down".to_owned() };
        after.action_ended(ActionResult { number: 7, state: ActionState::Interrupted });
        assert_eq!(told(&mut after), Some(ActionState::Running), "that was another one");
        after.action_ended(ActionResult { number: 8, state: ended.clone() });
        assert_eq!((after.begin_action("one"), told(&mut after)), (None, Some(ended)));
    }

    #[test]
    fn a_check_is_carried_out_once_and_again_after_a_restart_in_between() {
        let mut host = HostState::default();
        assert_eq!(host.begin_check(), None);
        host.order(HostOrder { check: 3, ..HostOrder::default() });
        assert_eq!(host.begin_check(), Some(3));
        assert_eq!(host.begin_check(), None, "it is under way");

        let mut restarted = HostState::restore(host.saved());
        assert_eq!(restarted.begin_check(), Some(3));
        restarted.checked(3);
        restarted.order(HostOrder { check: 3, ..HostOrder::default() });
        assert_eq!(restarted.begin_check(), None);
        assert_eq!(restarted.news().0.checked, Some(3));
        // A host that was retired and enrolled again has another record.
        restarted.order(HostOrder { check: 1, ..HostOrder::default() });
        assert_eq!(restarted.begin_check(), Some(1));
        restarted.checked(1);
        assert_eq!(restarted.news().0.checked, Some(1));
    }
}
