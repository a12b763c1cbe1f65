//! The packages of this host: what is installed, and which updates wait.
//!
//! Reading them costs up to seconds, and they seldom change. So they are read again only after a change of the package
//! manager's files.

use crate::{
    check::Verdict,
    exec::{self, ExecError, Limits},
    version::{Versions, package_format},
};
use lenticular_model::host::{
    evidence::Level,
    package::{PACKAGE, Packages},
    version::{NOT_INSTALLED, PackageFormat},
};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::{Duration, SystemTime},
};
use tokio::sync::Mutex;

/// Debian's and Ubuntu's database of packages (deb822(5), dpkg(1)).
const DPKG_STATUS: &str = "/var/lib/dpkg/status";
/// What the repositories have, as apt last read it.
const APT_LISTS: &str = "/var/lib/apt/lists";
/// Files of rpm's database, in its formats.
const RPM_FILES: [&str; 4] = [
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/rpmdb.sqlite-wal",
    "/var/lib/rpm/Packages",
    "/var/lib/rpm/Packages.db",
];
/// How many hexadecimal digits a digest has.
const DIGEST_DIGITS: usize = 16;
/// How long a package manager may take.
const MANAGER_LIMITS: Limits =
    Limits { deadline: Duration::from_secs(60), memory_mb_and_cpu_s: Some((2048, 60)) };

/// The packages as they were last read.
#[derive(Debug, Default)]
pub(crate) struct PackageReader {
    last: Mutex<Option<(Stamp, Known)>>,
}

/// When the package manager's files were changed.
type Stamp = Vec<Option<SystemTime>>;

/// What was read.
#[derive(Debug, Default)]
struct Known {
    /// All packages; `None` if they cannot be read.
    packages: Option<Packages>,
    /// The versions by the names of packages: the oldest, of a package that is installed for several architectures.
    versions: BTreeMap<String, String>,
}

/// What is told of the packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// All packages; `None` if they cannot be read.
    pub packages: Option<Packages>,
    /// The version of the C library, and those of the packages that rules name.
    pub versions: Versions,
}

impl PackageReader {
    /// Reads the packages, if something changed since they were last read. A quick look does not ask which updates wait.
    pub(crate) async fn read(&self, named: &[String], quick: bool) -> Found {
        if quick && package_format() == PackageFormat::Dpkg {
            return read_dpkg(async { None }).await.found(named);
        }
        let mut last = self.last.lock().await;
        let files = match package_format() {
            PackageFormat::Dpkg => [DPKG_STATUS, APT_LISTS].as_slice(),
            PackageFormat::Rpm => &RPM_FILES,
        };
        let changed = files.iter().map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok());
        let stamp: Stamp = changed.collect();
        if last.as_ref().is_none_or(|(at, _)| *at != stamp) {
            let known = match package_format() {
                PackageFormat::Dpkg => read_dpkg(updates_of_apt()).await,
                PackageFormat::Rpm => read_rpm().await,
            };
            // What cannot be read is read again by the next look.
            if known.packages.is_none() {
                return known.found(named);
            }
            *last = Some((stamp, known));
        }
        last.as_ref().map(|(_, known)| known.found(named)).unwrap_or_default()
    }
}

impl Known {
    fn found(&self, named: &[String]) -> Found {
        // Nobody knows what is installed if the packages cannot be read.
        let Some(packages) = &self.packages else { return Found::default() };
        let mut versions = named_versions(named, |name| self.versions.get(name).cloned());
        let libc = self.versions.get("libc6").or_else(|| self.versions.get("glibc"));
        versions.extend(libc.map(|version| ("libc".to_owned(), version.clone())));
        Found { packages: Some(packages.clone()), versions }
    }
}

async fn read_dpkg(updates: impl Future<Output = Option<(u32, u32)>>) -> Known {
    match tokio::fs::read(DPKG_STATUS).await {
        Ok(bytes) => known(&installed(&String::from_utf8_lossy(&bytes)), PackageFormat::Dpkg, updates.await),
        Err(error) => {
            tracing::warn!(path = DPKG_STATUS, %error, "the packages cannot be read");
            Known::default()
        }
    }
}

async fn read_rpm() -> Known {
    let args = ["-qa", "--qf", "%{NAME} %{ARCH} %{EVR}\n"];
    let said = match exec::which("rpm") {
        Some(rpm) => exec::run(&rpm, &args, MANAGER_LIMITS).await,
        None => Err(ExecError::Missing("rpm".to_owned())),
    };
    match said {
        Ok(said) => {
            let lines = said.lines().filter_map(|line| {
                let mut words = line.splitn(3, ' ');
                Some((words.next()?, words.next()?, words.next()?))
            });
            known(&lines.collect(), PackageFormat::Rpm, None)
        }
        Err(error) => {
            tracing::warn!(%error, "the packages cannot be read");
            Known::default()
        }
    }
}

fn known(installed: &Installed<'_>, format: PackageFormat, updates: Option<(u32, u32)>) -> Known {
    let (updates, security_updates) = updates.unzip();
    let lines = installed.iter().map(|(name, arch, version)| format!("{name} {arch} {version}\n"));
    let digest = digest(lines.collect::<String>().as_bytes());
    let count = installed.len().try_into().unwrap_or(u32::MAX);
    let mut versions: BTreeMap<String, String> = BTreeMap::new();
    for (name, _, version) in installed {
        let oldest = versions.entry((*name).to_owned()).or_insert_with(|| (*version).to_owned());
        if format.compare(version, oldest).is_lt() {
            *oldest = (*version).to_owned();
        }
    }
    let packages = Packages { digest, installed: count, updates, security_updates };
    Known { packages: Some(packages), versions }
}

/// The installed packages, each with its architecture and its version. Of some, such as rpm's kernels, there are several
/// versions.
type Installed<'t> = BTreeSet<(&'t str, &'t str, &'t str)>;

/// The installed packages of dpkg's database.
fn installed(status: &str) -> Installed<'_> {
    let stanzas = status.split("\n\n").filter_map(|stanza| {
        let field = |name: &str| {
            stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        // In all other states some of its files are there.
        let is_there = !["not-installed", "config-files"].contains(&field("Status")?.split(' ').next_back()?);
        let arch = field("Architecture").unwrap_or_default();
        Some((field("Package")?, arch, field("Version")?)).filter(|_| is_there)
    });
    stanzas.collect()
}

/// The first digits of a text's SHA-256 in hex: enough to tell hosts apart.
pub fn digest(text: &[u8]) -> String {
    let mut digits = String::new();
    for byte in Sha256::digest(text).iter().take(DIGEST_DIGITS / 2) {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// The versions of the packages that rules name.
fn named_versions(named: &[String], version: impl Fn(&str) -> Option<String>) -> Versions {
    let version = |name: &String| version(name).unwrap_or_else(|| NOT_INSTALLED.to_owned());
    named.iter().map(|name| (format!("{PACKAGE}{name}"), version(name))).collect()
}

/// Says that none of these packages is installed.
pub(crate) fn none_installed(named: &[String]) -> Versions {
    named_versions(named, |_| None)
}

/// How many updates wait, and how many of them for security; `None` if nobody knows.
async fn updates_of_apt() -> Option<(u32, u32)> {
    let read = std::fs::read_dir(APT_LISTS).ok()?;
    let mut names = read.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    if !names.any(|name| name.ends_with("Release")) {
        // Nobody has asked the repositories yet.
        return None;
    }
    let args = ["-s", "-q", "-o", "Debug::NoLocking=1", "dist-upgrade"];
    match exec::run(&exec::which("apt-get")?, &args, MANAGER_LIMITS).await {
        Ok(said) => Some(count_updates(&said)),
        Err(error) => {
            tracing::warn!(%error, "which updates wait cannot be found out");
            None
        }
    }
}

/// Counts the lines of apt-get's simulation that replace a version: `Inst NAME [OLD] (NEW ORIGIN [ARCH])`.
fn count_updates(said: &str) -> (u32, u32) {
    let updates = said.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_once(' '));
    let updates = updates.filter(|(_, rest)| rest.starts_with('['));
    updates.fold((0, 0), |(all, security), (_, rest)| {
        let origin = rest.split_once('(').map_or("", |(_, origin)| origin);
        (all + 1, security + u32::from(origin.to_ascii_lowercase().contains("security")))
    })
}

/// The check `updates`: whether updates for security wait.
pub(crate) fn check_updates(packages: Option<&Packages>) -> Verdict {
    let Packages { updates, security_updates, .. } = packages?;
    let (updates, security) = ((*updates)?, (*security_updates)?);
    (security > 0).then(|| (Level::Warn, format!("{updates} updates wait, {security} of them for security")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.0.15-1\n\
        Description: Secure Sockets Layer\n toolkit\n\nPackage: libc6\nStatus: install ok installed\n\
        Architecture: amd64\nMulti-Arch: same\nVersion: 2.36-9+deb12u9\n\nPackage: libc6\n\
        Status: hold ok installed\nArchitecture: i386\nVersion: 2.36-9+deb12u8\n\nPackage: nano\n\
        Status: deinstall ok config-files\nArchitecture: amd64\nVersion: 7.2-1\n";

    #[test]
    fn dpkgs_database_says_what_is_installed() {
        let all = installed(STATUS);
        assert_eq!(all.len(), 3, "{all:?}");
        let broken = installed("Package: a\nStatus: install ok half-configured\nVersion: 1\n");
        assert_eq!(broken.len(), 1, "its files are there");
        let known_of = |all: &Installed<'_>| known(all, PackageFormat::Dpkg, None);
        let found = known_of(&all).found(&["nano", "openssl"].map(str::to_owned));
        assert_eq!(found.versions["libc"], "2.36-9+deb12u8", "the oldest");
        assert_eq!(found.versions["package:openssl"], "3.0.15-1");
        assert_eq!(found.versions["package:nano"], NOT_INSTALLED);
        let mut other = all.clone();
        other.insert(("openssl", "amd64", "3.0.16-1"));
        let digest = |all| known_of(all).packages.unwrap().digest;
        assert_ne!(digest(&all), digest(&other));
    }

    #[test]
    fn updates_are_counted_apart_from_new_packages() {
        let said = "Reading package lists...\nInst linux-image-6.1.0-29-amd64 (6.1.123-1 Debian:12/stable [amd64])\n\
            Inst openssl [3.0.15-1] (3.0.17-1 Debian-Security:12/stable-security [amd64]) []\n\
            Inst nano [7.2-1] (7.2-2 Debian:12.9/stable [amd64])\nConf openssl (3.0.17-1 Debian:12/stable [amd64])\n";
        assert_eq!(count_updates(said), (2, 1));
        let packages = Packages { updates: Some(2), security_updates: Some(1), ..Packages::default() };
        assert_eq!(check_updates(Some(&packages)).unwrap().1, "2 updates wait, 1 of them for security");
        assert_eq!(
            check_updates(Some(&Packages { updates: Some(2), security_updates: Some(0), ..packages })),
            None
        );
    }

    #[tokio::test]
    async fn this_machine_says_its_packages() {
        let reader = PackageReader::default();
        let found = reader.read(&["coreutils".to_owned()], false).await;
        let packages = found.packages.clone().unwrap();
        assert!(packages.installed > 10 && packages.digest.len() == 16, "{packages:?}");
        assert!(!found.versions["libc"].is_empty() && !found.versions["package:coreutils"].is_empty());
        assert_eq!(reader.read(&["coreutils".to_owned()], false).await, found, "nothing changed");
        assert_eq!(
            reader.read(&["no-such".to_owned()], true).await.versions["package:no-such"],
            NOT_INSTALLED
        );
    }
}
