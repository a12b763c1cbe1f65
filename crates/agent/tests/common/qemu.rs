//! Shared code of tests with real QEMUs: the guest image, and state directories that end their guests.

use lenticular_model::ServerId;
use sha2::{Digest, Sha512};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// A state directory that ends its guests when it is dropped, however the test ends.
pub struct State(pub tempfile::TempDir);

impl State {
    pub fn guest(&self, id: ServerId) -> PathBuf {
        self.0.path().join("guests").join(id.to_string())
    }

    pub fn pid(&self, id: ServerId) -> Option<u32> {
        std::fs::read_to_string(self.guest(id).join("run/pid")).ok()?.trim().parse().ok()
    }

    /// Kills the guest's process, as the kernel may.
    pub fn kill(&self, id: ServerId) {
        let pid = self.pid(id).unwrap().to_string();
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    }
}

impl Drop for State {
    fn drop(&mut self) {
        for pid in processes(self.0.path()) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        // Everything else that agents made on this machine is removed too. A test may already be in a runtime
        // here.
        let dir = self.0.path().to_owned();
        let end = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = runtime.block_on(lenticular_agent::power_off(&dir, Duration::ZERO));
        });
        let _ = end.join();
    }
}

/// QEMU processes that work below this directory.
pub fn processes(dir: &Path) -> Vec<u32> {
    let pids =
        std::fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&cmdline).into_owned();
        let works_in = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        text.contains("qemu-system") && works_in.starts_with(dir)
    })
    .collect()
}

/// The guest image; `None` if this test must be skipped.
pub fn image() -> Option<PathBuf> {
    if std::env::var_os("LENTICULAR_SKIP_QEMU").is_some() {
        eprintln!("left out: LENTICULAR_SKIP_QEMU is set");
        return None;
    }
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest/out/lenticular-guest.qcow2");
    assert!(image.is_file(), "{} is missing: guest/build makes it", image.display());
    let qemu = Command::new("qemu-system-x86_64").arg("--version").output();
    assert!(
        qemu.is_ok(),
        "QEMU is missing: tools/install qemu brings it, LENTICULAR_SKIP_QEMU=1 leaves this out"
    );
    Some(image)
}

pub fn sha512(path: &Path) -> String {
    lenticular_wire::hex(&Sha512::digest(std::fs::read(path).unwrap()))
}
