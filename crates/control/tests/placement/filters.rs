//! Each filter and weigher alone, and the agreement of deciding and explaining.

use crate::world::{IMAGE, World};
use lenticular_control::{
    command::{
        compute::flavor,
        host::inventory::{self, Allotment, Class},
    },
    schedule::{RequestSpec, SAMPLES_MAX, explain, schedule},
};
use lenticular_model::{
    State, Timestamp,
    compute::{flavor::Size, server::Hints},
    error::Kind,
    host::host::{Host, Intent},
    image::Image,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn specs(world: &mut World, list: &[(&str, &str)]) {
    let new: BTreeMap<String, String> =
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    world.must(|txn, caller| {
        flavor::edit_specs(txn, caller, &"42".into(), |map| {
            *map = new;
            Ok(())
        })
    });
}

fn image(world: &mut World, list: &[(&str, &str)]) {
    let new: BTreeMap<String, String> =
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    world.must(|txn, _| {
        txn.update::<Image>(&IMAGE, |image| image.properties = new);
        Ok(())
    });
}

fn placed(world: &mut World) -> Option<usize> {
    world.place(|_| {}).1
}

#[test]
fn flavors_choose_aggregates_by_their_extra_specs() {
    let mut world = World::new(3);
    world.aggregate("fast", &[1], &[("disk", "ssd,nvme"), ("iops", "9000")]);
    world.aggregate("slow", &[2], &[("disk", "hdd"), ("iops", "100")]);
    for (key, wants, host) in [
        ("aggregate_instance_extra_specs:disk", "ssd", Some(1)),
        ("aggregate_instance_extra_specs:disk", "<or> tape <or> hdd", Some(2)),
        ("aggregate_instance_extra_specs:iops", ">= 1000", Some(1)),
        ("aggregate_instance_extra_specs:iops", "< 1000", Some(2)),
        ("aggregate_instance_extra_specs:disk", "tape", None),
        ("aggregate_instance_extra_specs:colour", "red", None),
        // Without a scope a spec counts if any aggregate has the property.
        ("disk", "hdd", Some(2)),
    ] {
        specs(&mut world, &[(key, wants)]);
        assert_eq!(placed(&mut world), host, "{key} {wants}");
    }
    specs(&mut world, &[("colour", "red"), ("hw:cpu_policy", "dedicated"), ("quota:disk_read_iops", "1")]);
    assert!(placed(&mut world).is_some(), "what the scheduler does not know is for others");
}

#[test]
fn aggregates_are_kept_for_projects_and_images() {
    let mut world = World::new(2);
    let other = "0".repeat(32);
    world.aggregate("theirs", &[0], &[("filter_tenant_id", other.as_str())]);
    assert_eq!(placed(&mut world), Some(1));
    let own = format!("{other}, {}", world.project);
    world.aggregate("ours", &[0], &[("filter_tenant_id2", own.as_str())]);
    specs(&mut world, &[]);
    let own_place = world.place(|new| new.host = Some("h0".to_owned())).1;
    assert_eq!(own_place, Some(0), "in any of its aggregates' lists is enough");

    world.aggregate("windows", &[1], &[("os_distro", "windows,reactos")]);
    image(&mut world, &[("os_distro", "debian")]);
    assert_eq!(world.place(|new| new.host = Some("h1".to_owned())).1, None);
    image(&mut world, &[("os_distro", "reactos")]);
    assert_eq!(world.place(|new| new.host = Some("h1".to_owned())).1, Some(1));
}

#[test]
fn images_capabilities_and_traits_are_matched_with_what_hosts_are() {
    let mut world = World::new(1);
    for (properties, fits) in [
        (&[("hw_architecture", "x86_64")][..], true),
        (&[("architecture", "i686")], true),
        (&[("hw_architecture", "aarch64")], false),
        (&[("img_hv_type", "qemu")], true),
        (&[("img_hv_type", "xen")], false),
        (&[("hw_vm_mode", "hvm")], true),
        (&[("vm_mode", "xen")], false),
        (&[("trait:HW_ARCH_X86_64", "required")], true),
        (&[("trait:HW_ARCH_AARCH64", "required")], false),
    ] {
        image(&mut world, properties);
        assert_eq!(placed(&mut world).is_some(), fits, "{properties:?}");
    }
    image(&mut world, &[]);
    for (key, wants, fits) in [
        ("capabilities:hypervisor_type", "s== QEMU", true),
        ("capabilities:hypervisor_version", ">= 10000000", true),
        ("capabilities:hypervisor_version", ">= 11000000", false),
        ("capabilities:cpu_info:arch", "<or> x86_64 <or> aarch64", true),
        ("capabilities:gpus", ">= 1", false),
        ("trait:CUSTOM_ACCELERATION_TCG", "required", true),
        ("trait:CUSTOM_ACCELERATION_TCG", "forbidden", false),
        ("trait:CUSTOM_UNHEARD_OF", "required", false),
        ("trait:CUSTOM_UNHEARD_OF", "forbidden", true),
    ] {
        specs(&mut world, &[(key, wants)]);
        assert_eq!(placed(&mut world).is_some(), fits, "{key} {wants}");
    }
}

#[test]
fn hints_lead_to_other_servers_and_away_from_them() {
    let mut world = World::new(2);
    let (first, at) = world.place(|_| {});
    let hints =
        |same: &[_], different: &[_]| Hints { same_host: same.to_vec(), different_host: different.to_vec() };
    for _ in 0..3 {
        assert_eq!(world.place(|new| new.hints = hints(&[first], &[])).1, at);
        assert_ne!(world.place(|new| new.hints = hints(&[], &[first])).1, at);
    }
    assert_eq!(world.place(|new| new.hints = hints(&[first], &[first])).1, None);
    let (hinted, _) = world.place(|new| new.hints = hints(&[], &[first]));
    assert!(world.state.servers[&hinted].hints.is_some(), "it holds for later moves");
}

#[test]
fn reserved_and_overcommitted_resources_count() {
    let mut world = World::new(1);
    let id = world.host(0);
    let set = |world: &mut World, class, total, reserved, ratio| {
        let one = [Allotment { class, total, reserved, ratio }];
        world.run(|txn, caller| inventory::set(txn, caller, id, |_| true, &one))
    };
    let fits = |world: &mut World, vcpus, ram_mb, disk_gb| {
        let size = Size { vcpus, ram_mb, disk_gb, ephemeral_gb: 0, swap_mb: 0, image_gb: 0 };
        schedule(&world.state, &RequestSpec { size: Some(size), ..RequestSpec::default() }).0.is_some()
    };
    assert!(fits(&mut world, 32, 8_192, 100) && !fits(&mut world, 1, 8_193, 1));
    set(&mut world, Class::MemoryMb, 8_192, 1_024, 1.5).unwrap();
    assert!(fits(&mut world, 1, 10_752, 1) && !fits(&mut world, 1, 10_753, 1));
    set(&mut world, Class::Vcpu, 8, 0, 1.0).unwrap();
    assert!(fits(&mut world, 8, 1, 1) && !fits(&mut world, 9, 1, 1));
    set(&mut world, Class::DiskGb, 100, 40, 1.0).unwrap();
    assert!(fits(&mut world, 1, 1, 60) && !fits(&mut world, 1, 1, 61));
    for (total, reserved, ratio) in [(9, 0, 1.0), (8, 9, 1.0), (8, 0, 0.0), (8, 0, f64::NAN), (8, 0, 2_000.0)]
    {
        assert_eq!(set(&mut world, Class::Vcpu, total, reserved, ratio).unwrap_err().kind, Kind::Invalid);
    }
    let stale = world.run(|txn, caller| inventory::set(txn, caller, id, |_| false, &[]));
    assert_eq!(stale.unwrap_err().kind, Kind::Conflict);

    world.aggregate("tight", &[0], &[("cpu_allocation_ratio", "0.5"), ("ram_allocation_ratio", "1.0")]);
    assert!(fits(&mut world, 4, 1, 1) && !fits(&mut world, 5, 1, 1));
    assert!(fits(&mut world, 1, 7_168, 1) && !fits(&mut world, 1, 7_169, 1));
    world.check_indexes();
}

#[test]
fn weights_follow_what_is_free_and_what_aggregates_say() {
    let mut world = World::new(3);
    let first = placed(&mut world).unwrap();
    assert_ne!(placed(&mut world), Some(first), "the next goes where there is more room");
    world.aggregate(
        "stack",
        &[0, 1, 2],
        &[
            ("ram_weight_multiplier", "-1"),
            ("cpu_weight_multiplier", "-1"),
            ("disk_weight_multiplier", "-1"),
            ("io_ops_weight_multiplier", "0"),
        ],
    );
    let full = placed(&mut world).unwrap();
    assert_eq!(placed(&mut world), Some(full), "where the multipliers are negative servers are stacked");
}

#[test]
fn the_weights_of_a_decision_and_of_its_explanation_can_be_compared() {
    let mut world = World::new(4);
    world.place(|_| {});
    world.place(|_| {});
    let before = world.state.clone();
    let (id, host) = world.place(|_| {});
    let ask = RequestSpec::of_server(&world.state, &world.state.servers[&id]);
    let (chosen, verdict) = schedule(&before, &ask);
    let weights = |state: &State| -> Vec<(String, f64)> {
        explain(state, &ask).into_iter().filter_map(|word| Some((word.name.clone(), word.weight?))).collect()
    };
    assert_eq!(weights(&world.state), verdict.accepted, "nothing but this server came");
    assert_eq!(chosen, host.map(|n| world.host(n)));
    assert!(verdict.accepted.iter().any(|(_, weight)| *weight > 0.0));
    world.place(|_| {});
    assert_ne!(weights(&world.state), verdict.accepted, "another came");
    for word in explain(&world.state, &ask) {
        let sum: f64 = word.weighers.iter().map(|weigher| weigher.adds).sum();
        assert_eq!(word.weight, Some(sum));
        let names: Vec<&str> = word.weighers.iter().map(|weigher| weigher.name).collect();
        assert_eq!(names, ["RAMWeigher", "CPUWeigher", "DiskWeigher", "IoOpsWeigher"]);
    }
}

#[test]
fn a_verdict_on_many_hosts_is_bounded_and_counts_all() {
    let mut world = World::new(100);
    let too_large = Size { vcpus: 1, ram_mb: 9_000, disk_gb: 1, ephemeral_gb: 0, swap_mb: 0, image_gb: 0 };
    let (none, verdict) =
        schedule(&world.state, &RequestSpec { size: Some(too_large), ..RequestSpec::default() });
    assert_eq!((none, verdict.counts()["MEMORY_MB"]), (None, 100));
    assert_eq!(verdict.refused.iter().map(|r| r.hosts.len()).sum::<usize>(), SAMPLES_MAX);
    assert!(verdict.summary().contains("Of 100 hosts: 100 refused by MEMORY_MB"), "{}", verdict.summary());
    assert!(verdict.explain().ends_with("and 80 more hosts."), "{}", verdict.explain());
    let forced = RequestSpec { host: Some("h7".to_owned()), ..RequestSpec::default() };
    let (_, verdict) = schedule(&world.state, &forced);
    assert_eq!(verdict.counts()["ForcedHostFilter"], 99);
    assert!(verdict.refused.iter().all(|r| r.hosts.len() == 1), "success needs no long words");
    assert_eq!(placed(&mut world), Some(0), "among equals the first");
}

#[derive(Debug, Clone)]
struct Given {
    state: u8,
    aggregates: u8,
    vcpus: u32,
    group: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn deciding_and_explaining_agree(
        hosts in proptest::collection::vec((0_u8..5, 0_u8..4, 0_u32..9, any::<bool>()).prop_map(
            |(state, aggregates, vcpus, group)| Given { state, aggregates, vcpus, group }), 0..8),
        wants in 0_u8..4,
        zone in any::<bool>(),
    ) {
        let mut world = World::new(hosts.len());
        let of = |bit: u8| (0..hosts.len()).filter(|n| hosts[*n].aggregates & bit != 0).collect::<Vec<_>>();
        world.aggregate("a", &of(1), &[("disk", "ssd"), ("ram_weight_multiplier", "-2")]);
        world.aggregate("b", &of(2), &[("availability_zone", "east"), ("cpu_allocation_ratio", "1")]);
        for (n, given) in hosts.iter().enumerate() {
            let id = world.host(n);
            world.must(|txn, _| {
                txn.update::<Host>(&id, |h| match given.state {
                    0 => h.intent = Intent::Disabled { reason: None },
                    1 => h.silent_since = Some(Timestamp(1)),
                    _ => h.capacity.vcpus = u64::from(given.vcpus),
                });
                Ok(())
            });
            if given.group {
                world.place(|new| new.host = Some(format!("h{n}")));
            }
        }
        let spec = |bit: u8, key: &str, value: &str| {
            (wants & bit != 0).then(|| (key.to_owned(), value.to_owned()))
        };
        let specs = [spec(1, "aggregate_instance_extra_specs:disk", "ssd"), spec(2, "trait:HW_ARCH_X86_64", "required")];
        let ask = RequestSpec {
            size: Some(Size { vcpus: 6, ram_mb: 128, disk_gb: 1, ephemeral_gb: 0, swap_mb: 0, image_gb: 0 }),
            zone: zone.then(|| "east".to_owned()),
            extra_specs: std::sync::Arc::new(specs.into_iter().flatten().collect()),
            hints: Hints { different_host: world.state.servers.keys().take(1).copied().collect(), ..Hints::default() },
            ..RequestSpec::default()
        };
        let (chosen, verdict) = schedule(&world.state, &ask);
        let words = explain(&world.state, &ask);
        prop_assert_eq!(words.len(), hosts.len());
        let accepted: Vec<(String, f64)> =
            words.iter().filter_map(|w| Some((w.name.clone(), w.weight?))).collect();
        prop_assert_eq!(&accepted, &verdict.accepted);
        prop_assert_eq!(chosen, words.first().filter(|w| w.weight.is_some()).map(|w| w.id));
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for word in &words {
            let refusal = word.words.iter().find(|w| w.refusal.is_some());
            prop_assert_eq!(refusal.is_none(), word.weight.is_some());
            prop_assert!(word.words.iter().flat_map(|w| &w.refusal).all(|why| !why.is_empty()));
            if let Some(refusal) = refusal {
                *counts.entry(refusal.filter).or_default() += 1;
            }
        }
        prop_assert_eq!(counts, verdict.counts());
        world.check_indexes();
    }
}
