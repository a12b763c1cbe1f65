//! The check `reboot`: whether the host waits for a reboot.

use super::Verdict;
use crate::version;
use lenticular_model::host::evidence::Level;
use std::{cmp::Ordering, path::Path};

/// A mark of the distribution, or a kernel that is newer than the running one, is a warning.
pub(super) async fn check() -> Verdict {
    // Debian's and Ubuntu's packages leave the mark.
    if Path::new("/run/reboot-required").exists() || Path::new("/var/run/reboot-required").exists() {
        return Some((Level::Warn, "packages ask for a reboot (/run/reboot-required)".to_owned()));
    }
    judge(version::running_kernel_here(), version::installed_kernel().await)
}

fn judge(running: Option<String>, installed: Option<String>) -> Verdict {
    let (running, installed) = (running?, installed?);
    let newer = version::package_format().compare(&installed, &running) == Ordering::Greater;
    newer.then(|| (Level::Warn, format!("kernel {installed} is installed, and {running} runs")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_kernel_waits_for_a_reboot() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(judge(text("6.1.119-1"), text("6.1.119-1")), None);
        assert_eq!(judge(text("6.1.119-1"), None), None);
        assert!(judge(text("6.1.9-1"), text("6.1.119-1")).unwrap().1.contains("6.1.119-1 is installed"));
    }
}
