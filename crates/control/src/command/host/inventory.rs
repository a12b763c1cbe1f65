//! Operators' settings of a host's resources: the reserved part and the overcommitment ratio.

use lenticular_model::{
    HostId, Txn,
    error::{Error, Result},
    host::host::Host,
    policy::{self, Action, Caller},
};

/// A class of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Virtual CPUs.
    Vcpu,
    /// Memory in MiB.
    MemoryMb,
    /// Disk in GiB.
    DiskGb,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Vcpu, Self::MemoryMb, Self::DiskGb];

    /// Placement's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vcpu => "VCPU",
            Self::MemoryMb => "MEMORY_MB",
            Self::DiskGb => "DISK_GB",
        }
    }

    /// The class with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// The host's total of the class.
    pub fn total(self, host: &Host) -> u64 {
        match self {
            Self::Vcpu => host.capacity.vcpus,
            Self::MemoryMb => host.capacity.memory_mb,
            Self::DiskGb => host.capacity.disk_gb,
        }
    }
}

/// The settings of one class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allotment {
    /// The class.
    pub class: Class,
    /// The total, as the caller believes.
    pub total: u64,
    /// The reserved part.
    pub reserved: u64,
    /// The overcommitment ratio.
    pub ratio: f64,
}

/// The highest ratio: a higher one is a typing error.
pub const RATIO_MAX: f64 = 1_000.0;

/// Sets these classes of a host. `known` tells whether the caller knows the present settings.
///
/// # Errors
/// Another caller changed the settings first, or the values are impossible.
pub fn set(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: HostId,
    known: impl FnOnce(&Host) -> bool,
    allotments: &[Allotment],
) -> Result<()> {
    policy::check(caller, Action::PlacementWrite, None)?;
    let host = txn
        .need::<Host>(&id, || Error::not_found_text(format!("No resource provider with uuid {id} found")))?;
    if !known(&host) {
        return Err(
            Error::conflict("resource provider generation conflict").coded("placement.concurrent_update")
        );
    }
    for allotment in allotments {
        check(&host, allotment)?;
    }
    txn.update::<Host>(&id, |host| allotments.iter().for_each(|allotment| apply(host, allotment)));
    Ok(())
}

fn check(host: &Host, asked: &Allotment) -> Result<()> {
    let name = asked.class.name();
    let total = asked.class.total(host);
    if asked.total != total {
        return Err(Error::invalid(format!(
            "The total of {name} is what the host's agent counts, {total}, and cannot be set to {}. Set \
             allocation_ratio or reserved.",
            asked.total
        )));
    }
    if asked.reserved > total {
        return Err(Error::invalid(format!(
            "Invalid inventory for '{name}': reserved is more than {total}."
        )));
    }
    if !(asked.ratio > 0.0 && asked.ratio <= RATIO_MAX) {
        return Err(Error::invalid(format!(
            "Invalid inventory for '{name}': allocation_ratio must be above 0 and at most {RATIO_MAX}."
        )));
    }
    Ok(())
}

fn apply(host: &mut Host, asked: &Allotment) {
    let share = &mut host.share;
    let (ratio, reserved) = match asked.class {
        Class::Vcpu => (&mut host.cpu_ratio, &mut share.reserved.vcpus),
        Class::MemoryMb => (&mut share.ram_ratio, &mut share.reserved.memory_mb),
        Class::DiskGb => (&mut share.disk_ratio, &mut share.reserved.disk_gb),
    };
    (*ratio, *reserved) = (asked.ratio, asked.reserved);
}
