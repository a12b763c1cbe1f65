//! Tests whether QEMU can run guests here, and with which acceleration: QEMU runs a few instructions.
//!
//! A machine may have `/dev/kvm` and still not run guests with KVM (nested virtualization that emulates part of
//! the CPU). So a boot sector goes from real through protected to long mode, returns from an interrupt in each
//! mode, and ends QEMU with a special exit code. The test takes a fifth of a second under emulation. The result
//! is kept for each boot of the host and each QEMU.

use crate::{
    driver::guest_user::GuestUser,
    exec::{self, ExecError, Limits},
    files, machine,
};
use lenticular_model::host::host::Hypervisor as Described;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// QEMU's exit code for `BOOT_SECTOR`: `0x2a << 1 | 1`, as isa-debug-exit computes it.
const PROOF: &str = "85";
const LIMITS: Limits = Limits { deadline: Duration::from_secs(4), memory_mb_and_cpu_s: None };
/// The test's disk in the state directory, and the result of the test. Older agents gave both files their names.
const DISK: &str = "probe.img";
const RESULT: &str = "probe.json";
/// The BIOS reads more than one sector.
const DISK_BYTES: usize = 1 << 20;

/// Real mode → `lgdt` → protected mode → `iretd` → paging, long mode → `iretq` → `cpuid` → `out 0x501, 0x2a`.
#[rustfmt::skip]
const BOOT_SECTOR: [u8; 224] = [
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0x0f, 0x01, 0x16, 0xd8,
    0x7c, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, 0xea, 0x1e, 0x7c, 0x08, 0x00, 0x66, 0xb8,
    0x10, 0x00, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0x00, 0x00, 0x9c, 0x6a, 0x08,
    0x68, 0x36, 0x7c, 0x00, 0x00, 0xcf, 0xbf, 0x00, 0x10, 0x00, 0x00, 0x0f, 0x22, 0xdf, 0x31, 0xc0,
    0xb9, 0x00, 0x0c, 0x00, 0x00, 0xf3, 0xab, 0xc7, 0x05, 0x00, 0x10, 0x00, 0x00, 0x03, 0x20, 0x00,
    0x00, 0xc7, 0x05, 0x00, 0x20, 0x00, 0x00, 0x03, 0x30, 0x00, 0x00, 0xc7, 0x05, 0x00, 0x30, 0x00,
    0x00, 0x83, 0x00, 0x00, 0x00, 0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0, 0xb9, 0x80,
    0x00, 0x00, 0xc0, 0x0f, 0x32, 0x0d, 0x00, 0x01, 0x00, 0x00, 0x0f, 0x30, 0x0f, 0x20, 0xc0, 0x0d,
    0x00, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0, 0xea, 0x8e, 0x7c, 0x00, 0x00, 0x18, 0x00, 0x66, 0xb8,
    0x10, 0x00, 0x8e, 0xd0, 0x6a, 0x10, 0x68, 0x00, 0x7c, 0x00, 0x00, 0x9c, 0x6a, 0x18, 0x68, 0xa5,
    0x7c, 0x00, 0x00, 0x48, 0xcf, 0x31, 0xc0, 0x0f, 0xa2, 0x66, 0xba, 0x01, 0x05, 0xb0, 0x2a, 0xee,
    0xf4, 0xeb, 0xfd, 0x0f, 0x1f, 0x44, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9a, 0xcf, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x92, 0xcf, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9a, 0xaf, 0x00, 0x1f, 0x00, 0xb8, 0x7c, 0x00, 0x00, 0x00, 0x00,
];

/// The QEMU, its acceleration, and a message about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verification {
    pub(super) binary: Option<PathBuf>,
    pub(super) kvm: bool,
    pub(super) described: Described,
    pub(super) trouble: Option<String>,
}

/// The result in the state directory.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The key that must match for the result to be valid.
    key: String,
    described: Described,
}

/// Runs the test, or reads the saved result, unless `again` is true.
pub(super) async fn verify(state_dir: &Path, again: bool) -> Verification {
    let Some(binary) = find() else {
        let trouble = format!(
            "{} is not installed. Install QEMU for this machine (Debian: apt install qemu-system-x86 qemu-utils) and \
             restart the agent.",
            name()
        );
        return Verification {
            binary: None,
            kvm: false,
            described: describe(0, "none"),
            trouble: Some(trouble),
        };
    };
    let user = GuestUser::nobody().await;
    let key = key(&binary, user);
    let file = state_dir.join(RESULT);
    let kept = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    let (described, trouble) = match kept.filter(|kept| kept.key == key && !again) {
        Some(kept) => (kept.described, None),
        None => {
            let (described, trouble) = find_out(&binary, state_dir, user).await;
            // A trouble may be over at the next start, so it is not saved.
            if trouble.is_none() {
                let kept = Kept { key, described: described.clone() };
                let bytes = serde_json::to_vec(&kept).unwrap_or_default();
                if let Err(error) = files::write_durably(&file, &bytes) {
                    tracing::warn!(%error, "the test's result cannot be kept; it is made again at the next start");
                }
            }
            (described, trouble)
        }
    };
    Verification { binary: Some(binary), kvm: described.acceleration == "kvm", described, trouble }
}

fn name() -> String {
    format!("qemu-system-{}", std::env::consts::ARCH)
}

fn find() -> Option<PathBuf> {
    exec::which(&name())
        .or_else(|| Some(PathBuf::from("/usr/libexec/qemu-kvm")).filter(|path| path.is_file()))
}

fn key(binary: &Path, user: GuestUser) -> String {
    let meta = std::fs::metadata(binary);
    let stamp = meta.as_ref().ok().and_then(|m| m.modified().ok());
    let kvm = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    format!(
        "3 {} {} {:?} {} {kvm} {}",
        machine::boot_id(),
        binary.display(),
        stamp,
        meta.map_or(0, |m| m.len()),
        user.id().is_some()
    )
}

async fn find_out(binary: &Path, state_dir: &Path, user: GuestUser) -> (Described, Option<String>) {
    let version = match exec::run(binary, &["--version"], LIMITS).await {
        Ok(text) => version(&text),
        Err(error) => {
            return (describe(0, "none"), Some(format!("QEMU does not run: {error}. Reinstall it.")));
        }
    };
    let disk = state_dir.join(DISK);
    let mut image = vec![0; DISK_BYTES];
    image[..BOOT_SECTOR.len()].copy_from_slice(&BOOT_SECTOR);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    if let Err(error) = std::fs::write(&disk, &image).and_then(|()| user.give(&disk)) {
        let trouble = format!(
            "{} cannot be written: {error}. Make room, or let the agent's user write there.",
            disk.display()
        );
        return (describe(version, "none"), Some(trouble));
    }
    let kvm = match Path::new("/dev/kvm").exists() {
        true => runs(binary, true, state_dir, user).await,
        false => Err("there is no /dev/kvm".to_owned()),
    };
    if let Err(why) = &kvm {
        tracing::info!(%why, "KVM does not run guests here; they are emulated, which is slow");
    }
    let result = match kvm {
        Ok(()) => (describe(version, "kvm"), None),
        Err(_) => match runs(binary, false, state_dir, user).await {
            Ok(()) => (describe(version, "tcg"), None),
            Err(why) => {
                let trouble = format!("QEMU cannot run a guest: {why}. Reinstall it.");
                (describe(version, "none"), Some(trouble))
            }
        },
    };
    if let Err(error) = files::remove(&disk) {
        tracing::warn!(%error, "the test's disk cannot be removed");
    }
    result
}

async fn runs(binary: &Path, kvm: bool, state_dir: &Path, user: GuestUser) -> Result<(), String> {
    let disk = serde_json::json!({
        "driver": "raw", "node-name": "d", "read-only": true,
        "file": { "driver": "file", "filename": DISK },
    });
    let mut args: Vec<String> = super::args::machine(kvm);
    args.extend(super::args::strings(&["-m", "64", "-blockdev"]));
    args.push(disk.to_string());
    args.extend(super::args::strings(&["-device", "virtio-blk-pci,drive=d,bootindex=1"]));
    args.extend(super::args::strings(&["-device", "isa-debug-exit,iobase=0x501,iosize=1"]));
    let (program, args) = user.command(binary, args);
    match exec::run_in(state_dir, &program, &args, LIMITS).await {
        Err(ExecError::Failed { status, .. }) if status.ends_with(&format!(": {PROOF}")) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("it ended before the guest did".to_owned()),
    }
}

fn describe(version: u64, acceleration: &str) -> Described {
    Described {
        driver: "qemu".to_owned(),
        acceleration: acceleration.to_owned(),
        version,
        arch: std::env::consts::ARCH.to_owned(),
        cpu_model: machine::cpu_model(),
        wiring: Default::default(),
    }
}

/// `QEMU emulator version 10.0.2 (…)` as Nova's number: 10000002.
fn version(text: &str) -> u64 {
    let numbers = text.split_whitespace().skip_while(|word| *word != "version").nth(1).unwrap_or_default();
    let mut parts = numbers.split('.').map(|part| {
        part.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u64>().unwrap_or_default()
    });
    let mut next = || parts.next().unwrap_or_default();
    next() * 1_000_000 + next() * 1_000 + next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_counted_as_nova_counts() {
        assert_eq!(version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)"), 10_000_002);
        assert_eq!(version("QEMU emulator version 9.1.0-rc1"), 9_001_000);
        assert_eq!(version(""), 0);
    }
}
