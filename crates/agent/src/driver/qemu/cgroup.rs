//! A control group for each guest, where the host allows it: memory, CPU share, number of threads.

use lenticular_model::{ServerId, compute::flavor::Size};
use std::{io, path::PathBuf};

/// QEMU's own memory beside the guest's, in MiB: its code cache under emulation and its buffers.
const OVERHEAD_MB: u64 = 1536;
/// QEMU's own threads beside the virtual CPUs' (block I/O takes up to 64).
const THREADS: u64 = 128;

fn dir(controller: &str, server: ServerId) -> PathBuf {
    PathBuf::from("/sys/fs/cgroup").join(controller).join("lenticular").join(server.to_string())
}

/// Puts a process into a new control group. A limit that the host does not allow is logged once for each guest,
/// and skipped.
pub(super) fn enter(server: ServerId, pid: u32, size: Size) {
    let memory = (u64::from(size.ram_mb) + OVERHEAD_MB) << 20;
    let threads = THREADS + u64::from(size.vcpus);
    for (controller, file, value) in [
        ("memory", "memory.limit_in_bytes", memory),
        ("cpu", "cpu.shares", 1024 * u64::from(size.vcpus)),
        ("pids", "pids.max", threads),
    ] {
        if let Err(error) = enter_one(controller, server, file, value, pid) {
            tracing::debug!(%server, controller, %error, "no control group for this guest");
        }
    }
}

fn enter_one(controller: &str, server: ServerId, file: &str, value: u64, pid: u32) -> io::Result<()> {
    let dir = dir(controller, server);
    // The group is made only below a mounted controller: elsewhere it would be a plain directory.
    if !dir.parent().and_then(|d| d.parent()).is_some_and(|root| root.join("cgroup.procs").exists()) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the controller is not mounted (version 1)"));
    }
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join(file), value.to_string())?;
    std::fs::write(dir.join("cgroup.procs"), pid.to_string())
}

/// Removes the groups of a guest without a process.
pub(super) fn remove(server: ServerId) {
    for controller in ["memory", "cpu", "pids"] {
        match std::fs::remove_dir(dir(controller, server)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(%server, controller, %error, "a control group stays behind");
            }
            _ => {}
        }
    }
}
