//! The machine's data: CPUs, memory, disk space, boot id, kernel.

use lenticular_model::{Timestamp, host::host::Capacity};
use std::{num::NonZero, path::Path, time::SystemTime};

/// The capacity for guests: all CPUs, the memory beyond the reserve, the free space on the state directory's
/// disk.
pub(crate) fn capacity(state_dir: &Path, reserved_memory_mb: u64) -> Capacity {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total_kb = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or_default();
    let disk = rustix::fs::statvfs(state_dir).map_or(0, |stat| stat.f_blocks.saturating_mul(stat.f_frsize));
    Capacity {
        vcpus: std::thread::available_parallelism().map_or(1, NonZero::get) as u64,
        memory_mb: (total_kb / 1024).saturating_sub(reserved_memory_mb),
        disk_gb: disk >> 30,
    }
}

/// The boot id, which changes at each start of the kernel.
pub(crate) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// The release of the running kernel.
pub(crate) fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// When the kernel booted, by the machine's clock.
pub(crate) fn booted_at() -> Option<Timestamp> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())?;
    Some(Timestamp::default().plus_s(seconds))
}

/// The time by the machine's clock.
#[expect(clippy::disallowed_methods, reason = "the machine's clock is compared with others'")]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().plus_ms(since.as_millis() as i64)
}

/// The CPU's model.
pub(crate) fn cpu_model() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_something_to_give() {
        let capacity = capacity(Path::new("/"), 16);
        assert!(capacity.vcpus > 0 && capacity.memory_mb > 0);
        assert_eq!(boot_id().len(), 36);
        assert!(booted_at().unwrap() > Timestamp::default());
    }
}
