//! The user of a guest's programs. If the agent is root, each guest has a user that it shares with nothing else.
//!
//! Code that breaks out of a guest then may touch only that guest's files. The owner of the guest's directory
//! `run` records the user; QEMU makes its files there. Everything around `run` belongs to the agent: the guest's
//! user can replace no file that the agent writes. The directories above can be passed through and not listed.
//!
//! ```text
//! STATE, STATE/base, STATE/guests, STATE/guests/<server>    0711, root
//! STATE/base/*                                              0644, root: the name is the digest of the content
//! STATE/guests/<server>/run                                 0700, the guest's user
//! STATE/guests/<server>/ root.qcow2 config.iso console.log  0600, the guest's user
//! all else                                                  0600, root
//! ```

use crate::{
    exec::{self, Limits},
    files,
};
use lenticular_model::Lock;
use rustix::process::geteuid;
use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    io,
    ops::Range,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, lchown},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::OnceCell;

/// The users of guests, each with a group of the same id. A system's own users have lower ids.
pub(crate) const USERS: Range<u32> = 1_800_000_000..1_800_065_536;
/// The part of the guest's directory where QEMU makes files.
pub(crate) const RUN: &str = "run";

const LIMITS: Limits = Limits { deadline: Duration::from_secs(10), memory_mb_and_cpu_s: None };
/// How often, and after which pause, a connection is tried again while the socket's queue is full.
const CONNECT_TRIES: u32 = 40;
const CONNECT_AGAIN: Duration = Duration::from_millis(50);
const KVM: &str = "/dev/kvm";
const TUN: &str = "/dev/net/tun";

/// The host's programs for starting a process as another user.
#[derive(Debug)]
struct Means {
    setpriv: PathBuf,
    /// Makes namespaces, if the kernel allows them.
    unshare: Option<PathBuf>,
    /// The group that may use KVM.
    kvm: Option<u32>,
}

static MEANS: OnceCell<Option<Means>> = OnceCell::const_new();

/// Finds the means, once.
async fn means() -> Option<&'static Means> {
    MEANS.get_or_init(find_means).await.as_ref()
}

/// Whether each guest has its own user on this host.
pub(crate) async fn are_given() -> bool {
    means().await.is_some()
}

async fn find_means() -> Option<Means> {
    if !geteuid().is_root() {
        return None;
    }
    let kvm = fs::metadata(KVM).ok();
    let others = kvm.as_ref().is_some_and(|kvm| kvm.mode() & 0o006 == 0o006);
    let group =
        kvm.as_ref().filter(|kvm| kvm.mode() & 0o060 == 0o060 && kvm.gid() != 0).map(MetadataExt::gid);
    if kvm.is_some() && !others && group.is_none() {
        tracing::warn!(
            "Only root may open {KVM}, so guests cannot use it: they run as users without privileges. Give it to a \
             group (chgrp kvm {KVM}; chmod 660 {KVM})."
        );
    }
    let setpriv = exec::which("setpriv").unwrap_or_else(|| "setpriv".into());
    let mut means = Means { setpriv, unshare: None, kvm: group.filter(|_| !others) };
    let works = |(program, args): (PathBuf, Vec<String>)| async move {
        exec::run(&program, &args, LIMITS).await.map_err(|error| error.to_string())
    };
    if let Err(why) = works(means.command(USERS.start, Path::new("true"), Vec::new())).await {
        tracing::warn!(
            why,
            "guests' programs run as root: no other user can be taken on here. Whoever breaks out of a guest has this \
             host. Install setpriv (util-linux), and run the agent where user {} exists.",
            USERS.start
        );
        return None;
    }
    means.unshare = exec::which("unshare");
    if let Err(why) = works(means.apart(means.command(USERS.start, Path::new("true"), Vec::new()))).await {
        tracing::warn!(why, "guests' programs share the host's namespaces: the kernel gives no others");
        means.unshare = None;
    }
    Some(means)
}

impl Means {
    /// A program's command line under a user. The process keeps its process id.
    fn command(&self, user: u32, program: &Path, args: Vec<String>) -> (PathBuf, Vec<String>) {
        let mut words = vec![format!("--reuid={user}"), format!("--regid={user}")];
        words.push(self.kvm.map_or("--clear-groups".to_owned(), |group| format!("--groups={group}")));
        words.extend(["--no-new-privs".to_owned(), "--".to_owned(), program.to_string_lossy().into_owned()]);
        words.extend(args);
        (self.setpriv.clone(), words)
    }

    /// The same in private namespaces. The host's mounts and unmounts are still seen in them.
    fn apart(&self, (program, args): (PathBuf, Vec<String>)) -> (PathBuf, Vec<String>) {
        let Some(unshare) = &self.unshare else { return (program, args) };
        let words = ["--ipc", "--uts", "--mount", "--propagation=slave", "--"].map(str::to_owned);
        let program = program.to_string_lossy().into_owned();
        (unshare.clone(), words.into_iter().chain([program]).chain(args).collect())
    }
}

/// A guest's user; the agent's own user where guests have none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GuestUser(Option<(u32, &'static Means)>);

impl GuestUser {
    /// The user of the guest of this directory. The directory and the user are made if missing.
    pub(crate) async fn of(dir: &Path) -> io::Result<Self> {
        make_dirs(dir)?;
        match means().await {
            Some(means) => Ok(Self(Some((owner(dir)?, means)))),
            None => Ok(Self(None)),
        }
    }

    /// A user for a program that runs before there is a guest.
    pub(crate) async fn nobody() -> Self {
        Self(means().await.map(|means| (USERS.start, means)))
    }

    /// Its user id, if guests have users.
    pub(crate) fn id(self) -> Option<u32> {
        self.0.map(|(id, _)| id)
    }

    /// Gives the user a file or a socket of the guest's directory. A missing file is no error.
    pub(crate) fn give(self, file: &Path) -> io::Result<()> {
        let Some(id) = self.id() else { return Ok(()) };
        let given = lchown(file, Some(id), Some(id))
            .and_then(|()| fs::set_permissions(file, Permissions::from_mode(0o600)));
        match given {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// A program's command line under this user.
    pub(crate) fn command(self, program: &Path, args: Vec<String>) -> (PathBuf, Vec<String>) {
        match self.0 {
            Some((id, means)) => means.command(id, program, args),
            None => (program.to_owned(), args),
        }
    }

    /// The same for a program that runs as long as its guest.
    pub(crate) fn lasting_command(self, program: &Path, args: Vec<String>) -> (PathBuf, Vec<String>) {
        match self.0 {
            Some((id, means)) => means.apart(means.command(id, program, args)),
            None => (program.to_owned(), args),
        }
    }
}

/// Makes taps accessible to their owners, as udev normally does: the kernel refuses a tap to all other users.
pub(crate) async fn open_taps() {
    if means().await.is_none() || fs::metadata(TUN).is_ok_and(|tun| tun.mode() & 0o006 == 0o006) {
        return;
    }
    match fs::set_permissions(TUN, Permissions::from_mode(0o666)) {
        Ok(()) => {
            tracing::info!("{TUN} was root's alone; now every user may open it, and with it taps of his own")
        }
        Err(error) => {
            tracing::error!(%error, "{TUN} cannot be opened to guests' users: guests will not start")
        }
    }
}

fn make_dirs(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    if geteuid().is_root() {
        fs::set_permissions(dir, Permissions::from_mode(0o711))?;
    }
    match fs::DirBuilder::new().mode(0o700).create(dir.join(RUN)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The owner of the guest's directory `run`. If the directory is new, the owner is the lowest free user id.
fn owner(dir: &Path) -> io::Result<u32> {
    static CHOOSING: Lock<()> = Lock::new(());
    let _held = CHOOSING.lock();
    let run = dir.join(RUN);
    let has = fs::metadata(&run)?.uid();
    if USERS.contains(&has) {
        return Ok(has);
    }
    let mut taken = BTreeSet::new();
    for guest in fs::read_dir(dir.parent().unwrap_or(dir))? {
        match fs::metadata(guest?.path().join(RUN)) {
            Ok(meta) => drop(taken.insert(meta.uid())),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let full = || io::Error::other("all users that are reserved for guests are in use");
    let free = USERS.clone().find(|id| !taken.contains(id)).ok_or_else(full)?;
    chown(&run, Some(free), Some(free))?;
    Ok(free)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Gives guests' users the way to their own files and to nothing else. An older agent may have left the directory
/// open.
pub(crate) fn guard(state_dir: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let (base, guests) = (state_dir.join("base"), state_dir.join("guests"));
    for dir in [state_dir, &base, &guests] {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o711))?;
    }
    each(state_dir, |path, mode| (![&base, &guests].contains(&path)).then_some(mode & !0o077))?;
    each(&base, |_, _| Some(0o644))?;
    let mut dirs = Vec::new();
    each(&guests, |path, _| {
        dirs.push(path.clone());
        Some(0o711)
    })?;
    dirs.iter().try_for_each(|dir| each(dir, |path, mode| (!path.ends_with(RUN)).then_some(mode & !0o077)))
}

/// Sets the mode of each entry of a directory, except links.
fn each(dir: &Path, mut mode: impl FnMut(&PathBuf, u32) -> Option<u32>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (path, meta) = (entry.path(), entry.metadata()?);
        if meta.is_symlink() {
            continue;
        }
        let now = meta.mode() & 0o7777;
        if let Some(wanted) = mode(&path, now).filter(|wanted| *wanted != now) {
            fs::set_permissions(&path, Permissions::from_mode(wanted))?;
        }
    }
    Ok(())
}

/// Connects to a socket of a guest's QEMU, and checks that this QEMU listens there: code that broke out of a
/// guest could lead the agent elsewhere. The QEMU of an older agent listens in the guest's directory itself.
pub(crate) async fn connect(dir: &Path, name: &str) -> io::Result<tokio::net::UnixStream> {
    let short = files::ShortDir::open(dir)?;
    let stream = match connect_to(&short.path(&format!("{RUN}/{name}"))).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => connect_to(&short.path(name)).await?,
        other => other?,
    };
    match is_of(dir, stream.peer_cred()?.uid()) {
        true => Ok(stream),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the socket belongs to another user than the guest's",
        )),
    }
}

/// Connects to a socket. QEMU keeps only a few clients waiting, and refuses the next ones, which must try again.
async fn connect_to(path: &Path) -> io::Result<tokio::net::UnixStream> {
    for _ in 0..CONNECT_TRIES {
        match tokio::net::UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(CONNECT_AGAIN).await
            }
            other => return other,
        }
    }
    tokio::net::UnixStream::connect(path).await
}

/// Whether a program of this user may be the guest's own.
pub(crate) fn is_of(dir: &Path, user: u32) -> bool {
    user == geteuid().as_raw() || fs::metadata(dir.join(RUN)).is_ok_and(|run| run.uid() == user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_root() -> bool {
        let is = geteuid().is_root();
        if !is {
            println!("left out: only root gives files away");
        }
        is
    }

    fn user(guests: &Path, name: &str) -> u32 {
        make_dirs(&guests.join(name)).unwrap();
        owner(&guests.join(name)).unwrap()
    }

    #[test]
    fn each_guest_has_its_own_user_and_one_that_is_gone_leaves_it_free() {
        if !is_root() {
            return;
        }
        let guests = tempfile::tempdir().unwrap();
        let of = |name| user(guests.path(), name);
        let (a, b, c) = (of("a"), of("b"), of("c"));
        assert_eq!([a, b, c], [USERS.start, USERS.start + 1, USERS.start + 2]);
        // The files' owners are the only memory.
        assert_eq!([of("a"), of("b"), of("c")], [a, b, c]);
        let meta = fs::metadata(guests.path().join("b").join(RUN)).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (b, b, 0o700));
        let meta = fs::metadata(guests.path().join("b")).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o777), (0, 0o711));
        fs::remove_dir_all(guests.path().join("b")).unwrap();
        assert_eq!([of("d"), of("e")], [b, USERS.start + 3]);
        // An entry that is no guest takes no user.
        fs::write(guests.path().join("stray"), "").unwrap();
        assert_eq!(of("f"), USERS.start + 4);
    }

    #[test]
    fn what_an_older_agent_left_open_is_closed() {
        if !is_root() {
            return;
        }
        let state = tempfile::tempdir().unwrap();
        let at = |name: &str| state.path().join(name);
        let guest = at("guests/x");
        fs::create_dir_all(at("network")).unwrap();
        fs::create_dir_all(at("base")).unwrap();
        fs::create_dir_all(guest.join(RUN)).unwrap();
        for (name, mode) in [
            ("agent.json", 0o644),
            ("base/b.raw", 0o600),
            ("guests/x/user_data", 0o644),
            ("guests/x/run/own", 0o640),
        ] {
            fs::write(at(name), "x").unwrap();
            fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(state.path(), Permissions::from_mode(0o755)).unwrap();
        guard(state.path()).unwrap();
        for (name, mode) in [
            ("", 0o711),
            ("agent.json", 0o600),
            ("network", 0o700),
            ("base", 0o711),
            ("base/b.raw", 0o644),
            ("guests", 0o711),
            ("guests/x", 0o711),
            ("guests/x/user_data", 0o600),
            ("guests/x/run/own", 0o640),
        ] {
            assert_eq!(fs::metadata(at(name)).unwrap().mode() & 0o777, mode, "{name}");
        }
    }

    #[test]
    fn programs_are_started_without_privileges() {
        let mut means = Means { setpriv: "/b/setpriv".into(), unshare: None, kvm: None };
        let qemu = || means.apart(means.command(1_800_000_007, Path::new("/b/qemu"), vec!["-S".to_owned()]));
        let line =
            |(program, args): (PathBuf, Vec<String>)| format!("{} {}", program.display(), args.join(" "));
        let bare =
            "/b/setpriv --reuid=1800000007 --regid=1800000007 --clear-groups --no-new-privs -- /b/qemu -S";
        assert_eq!(line(qemu()), bare);
        (means.unshare, means.kvm) = (Some("/b/unshare".into()), Some(108));
        let qemu = means.apart(means.command(1_800_000_007, Path::new("/b/qemu"), vec!["-S".to_owned()]));
        let apart = "/b/unshare --ipc --uts --mount --propagation=slave -- ";
        assert_eq!(line(qemu), format!("{apart}{}", bare.replace("--clear-groups", "--groups=108")));
    }

    #[tokio::test]
    async fn a_program_has_its_guests_user_and_nothing_more() {
        if !is_root() {
            return;
        }
        let state = tempfile::tempdir().unwrap();
        let user = GuestUser::of(&state.path().join("x")).await.unwrap();
        let id = user.id().expect("this host has setpriv");
        let args =
            ["-c", "grep -E '^(Uid|Gid|NoNewPrivs|CapEff)' /proc/self/status"].map(str::to_owned).to_vec();
        for (program, args) in [
            user.command(Path::new("/bin/sh"), args.clone()),
            user.lasting_command(Path::new("/bin/sh"), args.clone()),
        ] {
            let said = exec::run(&program, &args, LIMITS).await.unwrap();
            let four = [id.to_string(), id.to_string(), id.to_string(), id.to_string()].join("\t");
            let wanted = format!("Uid:\t{four}\nGid:\t{four}\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n");
            assert_eq!(said, wanted);
        }
    }
}
