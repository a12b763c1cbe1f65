//! The versions of software on this host, as its packages and programs say them.
//!
//! A file beside the agent's state adds versions, or replaces measured ones: firmware that only the operator knows, or
//! a value for a test. It is JSON: `{"versions": {"firmware": "2.10"}}`.

use crate::exec::{self, Limits};
use lenticular_model::host::{
    host::Hypervisor,
    version::{PackageFormat, sane},
};
use serde::{Deserialize, de::IgnoredAny};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// Versions by their names (`lenticular_model::host::rule::VERSION_NAMES`).
pub(crate) type Versions = BTreeMap<String, String>;

/// The longest file of versions, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// How long a program has to say its version.
const PROGRAM_LIMITS: Limits =
    Limits { deadline: Duration::from_secs(10), memory_mb_and_cpu_s: Some((1024, 10)) };

/// The package format of this host.
pub(crate) fn package_format() -> PackageFormat {
    match Path::new("/var/lib/dpkg/status").exists() || !Path::new("/var/lib/rpm").exists() {
        true => PackageFormat::Dpkg,
        false => PackageFormat::Rpm,
    }
}

/// The host's boot id. The file of versions can name another one: a host of a lab has no kernel of its own.
pub(crate) fn boot_id(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let said = serde_json::from_str::<File>(&text).ok().and_then(|file| file.boot_id);
    said.unwrap_or_else(crate::machine::boot_id)
}

/// All versions that this host can say, beside those that were found already.
pub(crate) async fn versions(file: &Path, hypervisor: &Hypervisor, mut found: Versions) -> Versions {
    let mut note = |name: &str, version: Option<String>| {
        found.extend(version.filter(|version| !version.is_empty()).map(|version| (name.to_owned(), version)));
    };
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    note("kernel", running_kernel_here());
    note("agent", Some(env!("CARGO_PKG_VERSION").to_owned()));
    note("microcode", microcode(&read("/proc/cpuinfo")));
    // Simulated hosts have no programs of their own.
    if hypervisor.driver == "qemu" {
        note("qemu", hypervisor_version(hypervisor.version));
        note("kernel-installed", installed_kernel().await);
        if hypervisor.wiring.is_ovn() {
            note("ovs", said_by("ovs-vswitchd").await);
            note("ovn", said_by("ovn-controller").await);
        }
    }
    match of_file(file) {
        Ok(versions) => found.extend(versions),
        // What the operator wanted to say is not known, and unknown never passes.
        Err(why) => {
            tracing::warn!(path = %file.display(), why, "the file of versions cannot be read: no version is reported");
            found.clear();
        }
    }
    sane(found)
}

/// The package version of this host's running kernel.
pub(crate) fn running_kernel_here() -> Option<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    running_kernel(&read("/proc/version_signature"), &read("/proc/version"), &crate::machine::kernel())
}

/// The package version of a running kernel. Debian's and Ubuntu's kernels say it, because their release stays the
/// same over most updates. Elsewhere the release is the version.
fn running_kernel(signature: &str, banner: &str, release: &str) -> Option<String> {
    let flavours = ["-generic", "-lowlatency", "-virtual", "-server"];
    let ubuntu = signature.split_whitespace().nth(1).map(|word| {
        flavours.iter().find_map(|flavour| word.strip_suffix(flavour)).unwrap_or(word).to_owned()
    });
    let debian = || {
        let mut words = banner.split_whitespace().skip_while(|word| *word != "Debian");
        words.nth(1).map(str::to_owned)
    };
    ubuntu.or_else(debian).or_else(|| Some(release.to_owned()))
}

/// The microcode of the first CPU, as the kernel writes it: in hex.
fn microcode(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("microcode")?.split_once(':'));
    line.map(|(_, version)| version.trim().to_owned())
}

/// QEMU's version from Nova's number: 10000002 is 10.0.2.
fn hypervisor_version(number: u64) -> Option<String> {
    (number > 0).then(|| format!("{}.{}.{}", number / 1_000_000, number / 1_000 % 1_000, number % 1_000))
}

/// The newest installed kernel, as its package's version.
pub(crate) async fn installed_kernel() -> Option<String> {
    let (program, args) = match package_format() {
        PackageFormat::Dpkg => {
            ("dpkg-query", ["-W", "-f", "${db:Status-Status} ${Version}\n", "linux-image-[0-9]*"].as_slice())
        }
        PackageFormat::Rpm => {
            ("rpm", ["-q", "--qf", "installed %{VERSION}-%{RELEASE}\n", "kernel-core"].as_slice())
        }
    };
    let said = exec::run(&program_path(program)?, args, PROGRAM_LIMITS).await.ok()?;
    let installed = said.lines().filter_map(|line| line.strip_prefix("installed "));
    installed.max_by(|a, b| package_format().compare(a, b)).map(str::to_owned)
}

/// The version in the first line of what a program says of itself.
async fn said_by(program: &str) -> Option<String> {
    let said = exec::run(&program_path(program)?, &["--version"], PROGRAM_LIMITS).await.ok()?;
    said.lines().next()?.split_whitespace().last().map(str::to_owned)
}

fn program_path(program: &str) -> Option<PathBuf> {
    exec::which(program).or_else(|| {
        let path = Path::new("/usr/sbin").join(program);
        path.exists().then_some(path)
    })
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    versions: Versions,
    #[serde(default)]
    boot_id: Option<String>,
    /// What the checks of a simulated host find (`crate::check::simulated`).
    #[serde(default, rename = "checks")]
    _checks: IgnoredAny,
    #[serde(default, rename = "unreached")]
    _unreached: IgnoredAny,
}

/// The versions of the operator's file; none if there is no file.
fn of_file(path: &Path) -> Result<Versions, String> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Versions::new()),
        Ok(file) if file.len() > FILE_BYTES_MAX => {
            return Err(format!("it is longer than {FILE_BYTES_MAX} bytes"));
        }
        _ => {}
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    Ok(serde_json::from_str::<File>(&text).map_err(|error| error.to_string())?.versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_says_its_packages_version_or_its_release() {
        let ubuntu = "Ubuntu 3.13.0-24.46-generic 3.13.9\n";
        let debian = "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, \
                      GNU ld) #1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)\n";
        let red_hat =
            "Linux version 4.18.0-147.el8.x86_64 (mockbuild@kbuilder) #1 SMP Thu Sep 26 15:52:44 UTC 2019\n";
        assert_eq!(running_kernel(ubuntu, "", "3.13.0-24-generic").unwrap(), "3.13.0-24.46");
        assert_eq!(running_kernel("", debian, "6.1.0-28-amd64").unwrap(), "6.1.119-1");
        assert_eq!(running_kernel("", red_hat, "4.18.0-147.el8.x86_64").unwrap(), "4.18.0-147.el8.x86_64");
    }

    #[test]
    fn numbers_and_lines_are_read() {
        assert_eq!(hypervisor_version(10_000_002).unwrap(), "10.0.2");
        assert_eq!(hypervisor_version(0), None);
        assert_eq!(microcode("processor\t: 0\nmicrocode\t: 0xd0003a5\n").unwrap(), "0xd0003a5");
    }

    #[test]
    fn a_file_replaces_versions_and_a_bad_file_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("facts.json");
        assert!(of_file(&path).unwrap().is_empty());
        std::fs::write(&path, r#"{"versions": {"kernel": "6.1.9-1"}}"#).unwrap();
        assert_eq!(of_file(&path).unwrap()["kernel"], "6.1.9-1");
        std::fs::write(&path, r#"{"versoins": {}}"#).unwrap();
        assert!(of_file(&path).unwrap_err().contains("versoins"));
    }
}
