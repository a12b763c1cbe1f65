//! The scheduler: it obeys every filter, explains every host, and gives the same result for the same State.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use lenticular_control::{
    observe::host::{Registration, begin_session},
    schedule::{RequestSpec, schedule},
};
use lenticular_model::host::{
    evidence::{Evidence, HYPERVISOR},
    fact::Facts,
};
use lenticular_model::{
    Incarnation, State, Timestamp, Txn,
    compute::flavor::Size,
    host::host::{Capacity, Host, Hypervisor, Intent},
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Given {
    vcpus: u64,
    memory_mb: u64,
    disabled: bool,
    silent: bool,
    trouble: bool,
    zone: bool,
}

fn hosts() -> impl Strategy<Value = Vec<Given>> {
    let one = (1_u64..8, 64_u64..4_096, any::<(bool, bool, bool, bool)>()).prop_map(
        |(vcpus, memory_mb, (disabled, silent, trouble, zone))| Given {
            vcpus,
            memory_mb,
            disabled,
            silent,
            trouble,
            zone,
        },
    );
    proptest::collection::vec(one, 0..12)
}

fn state(hosts: &[Given]) -> State {
    let mut state = State::new(Incarnation::from_random([1; 16]), Timestamp(1));
    for (n, given) in hosts.iter().enumerate() {
        let mut entropy = || [n as u8 + 1; 16];
        let mut txn = Txn::new(&state, Timestamp(1), &mut entropy);
        let intro = Registration {
            name: format!("h{n:02}"),
            protocol: 3,
            zone: if given.zone { "east" } else { "west" }.to_owned(),
            facts: Facts {
                boot_id: Some(String::new()),
                peer_address: Some(String::new()),
                capacity: Some(Capacity { vcpus: given.vcpus, memory_mb: given.memory_mb, disk_gb: 100 }),
                hypervisor: Some(Hypervisor { arch: "x86_64".to_owned(), ..Hypervisor::default() }),
                ..Facts::default()
            },
            evidence: given
                .trouble
                .then(|| Evidence::new(HYPERVISOR, Some("QEMU is missing".to_owned())))
                .into_iter()
                .collect(),
            life: None,
        };
        let id = begin_session(&mut txn, intro).unwrap().id;
        txn.update::<Host>(&id, |h| {
            if given.disabled {
                h.intent = Intent::Disabled { reason: Some("patching".to_owned()) };
            }
            h.silent_since = given.silent.then_some(Timestamp(1));
        });
        state = txn.finish().0;
    }
    state
}

proptest! {
    #[test]
    fn every_host_is_judged_once_and_the_chosen_one_fits(
        given in hosts(),
        vcpus in 1_u32..16,
        ram_mb in 1_u32..4_096,
        zone in proptest::option::of(proptest::bool::ANY),
    ) {
        let state = state(&given);
        let size = Size { vcpus, ram_mb, disk_gb: 1, ephemeral_gb: 0, swap_mb: 0, image_gb: 0 };
        let zone = zone.map(|east| if east { "east" } else { "west" }.to_owned());
        let ask = RequestSpec { size: Some(size), zone: zone.clone(), ..RequestSpec::default() };
        let (chosen, verdict) = schedule(&state, &ask);
        let refused: usize = verdict.refused.iter().map(|r| r.hosts.len()).sum();
        prop_assert_eq!(refused + verdict.accepted_count, given.len());
        prop_assert_eq!(chosen.is_some(), verdict.accepted_count > 0);
        prop_assert_eq!(schedule(&state, &ask).1, verdict.clone());
        if let Some(host) = chosen.and_then(|id| state.hosts.get(&id)) {
            prop_assert!(host.is_enabled() && host.is_up() && host.hypervisor_trouble().is_none());
            prop_assert!(u64::from(vcpus) <= host.vcpus_to_give() && u64::from(ram_mb) <= host.capacity.memory_mb);
            prop_assert!(zone.is_none_or(|z| z == host.zone));
        } else {
            // The owner reads counts, and no host's name.
            let summary = verdict.summary();
            prop_assert!(summary.starts_with("No valid host was found."));
            prop_assert!(!summary.contains("h0"));
        }
    }
}
