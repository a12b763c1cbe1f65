//! Starts a control plane: store, first records, controllers and the API, on a listener for clients and one for
//! agents.

use crate::{
    clock::{self, Clock, CloudTime},
    controllers,
    data::{self, DataDir},
    host::fence::FenceCommand,
};
use anyhow::{Context, Result};
use lenticular_api::{
    AgentTls, App, Clocks, Config, FenceDriver, FenceDrivers, ImageStore, Parts, Passwords, Settings, Tokens,
    hash_password,
};
use lenticular_control::bootstrap;
use lenticular_model::{Cause, Incarnation, State, Txn, host::enrolment::is_host_name};
use lenticular_store::{Engine, OpenError, Postgres, Sqlite, Store, Writer};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch};

/// How long a token is valid, in seconds.
const TOKEN_LIFE_S: i64 = 12 * 3_600;

/// How long the journal is kept, in seconds.
const JOURNAL_LIFE_S: i64 = 90 * 24 * 3_600;

/// How often old entries of the journal are removed.
const TRIM_EVERY: Duration = Duration::from_secs(3_600);

/// A running control plane.
pub(crate) struct ControlPlane {
    /// Its API, for agents within the process.
    pub app: App,
    /// The URL for clients.
    pub url: String,
    /// The URL for agents.
    pub agent_url: String,
    /// The URL for an agent on this machine.
    pub local_agent_url: String,
    listener: TcpListener,
    agent_listener: TcpListener,
    agent_tls: AgentTls,
}

/// The options of a control plane's start.
pub(crate) struct Options<'o> {
    /// Its data directory.
    pub data: &'o DataDir,
    /// The address for clients.
    pub listen: SocketAddr,
    /// The address for agents.
    pub agent_listen: SocketAddr,
    /// Names and addresses that agents use for the control plane, beside the address that they connect to.
    pub agent_names: &'o [String],
    /// The URL that clients get.
    pub public_url: Option<&'o str>,
    /// A PostgreSQL connection string.
    pub store: Option<&'o str>,
    /// The fencing drivers, by name.
    pub fencing: BTreeMap<String, FenceCommand>,
    /// The operator's settings.
    pub settings: Settings,
}

/// Starts the control plane, up to the point where it could answer.
///
/// # Errors
/// The store cannot be opened, or the address is in use.
pub(crate) async fn start(options: &Options<'_>) -> Result<ControlPlane> {
    let data = options.data;
    // The store, and the addresses to listen on.
    let Opened { store, time, place } = open_store(data, options.store).await?;
    let clock = time.clock();
    let (listener, address) = listen(options.listen, "--listen").await?;
    let (agent_listener, agent_address) = listen(options.agent_listen, "--agent-listen").await?;
    let url = match options.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{address}"),
    };
    // The first records of a new cloud.
    let password = first_records(&store, data).await?;
    data.write_clouds(&url, &password)?;
    // The image store, without the leftovers of a crash.
    let images = ImageStore::open(&data.path("images"), options.settings.images.reserve_bytes())
        .context("the image store cannot be opened")?;
    let swept = images.sweep(&store.state()).context("leftovers in the image store cannot be removed")?;
    if swept > 0 {
        tracing::info!(swept, "removed files of uploads and images that do not count");
    }
    // The keys of tokens, and the CA's key.
    let tokens = Tokens::new(&data.token_keys()?, TOKEN_LIFE_S).with_context(|| {
        let file = data.path("token-keys");
        format!("{} is damaged: each line must be 32 bytes in URL-safe base64. Restore it, or remove it: all must log in again then", file.display())
    })?;
    let is_known = data.has("ca.key");
    let authority = data.authority()?;
    if !is_known && !store.state().enrolments.is_empty() {
        tracing::warn!(
            "the file ca.key was gone: the cloud has a new CA, and every host must be enrolled again with `lenticular \
             host enrol NAME --replace`"
        );
    }
    data.remove_agent_secret();
    // The application, from its parts.
    let agent_url = agent_url(options, agent_address, &url);
    let fencing = fence_drivers(&options.fencing)?;
    let config = Config {
        public_url: url.clone(),
        agent_url: agent_url.clone(),
        fencing,
        settings: options.settings.clone(),
    };
    let clocks = Clocks { cloud: clock.clone(), machine: clock::clock() };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let app = App::new(Parts {
        store: store.clone(),
        tokens,
        passwords: Passwords::new(cores),
        images,
        authority,
        config,
        clocks,
    });
    let agent_tls = AgentTls::new(app.clone(), server_names(options.agent_names))
        .context("the agents' listener has no certificate; is every --agent-name a name or an address?")?;
    // Background tasks.
    tokio::spawn(controllers::run(store.clone(), clock.clone()));
    tokio::spawn(trim(store.clone(), clock));
    tokio::spawn(async move { store.keep_open(move |known| open_again(&place, &time, known)).await });
    let local_agent_url = format!("https://{}", reachable(agent_address));
    Ok(ControlPlane { app, url, agent_url, local_agent_url, listener, agent_listener, agent_tls })
}

fn fence_drivers(commands: &BTreeMap<String, FenceCommand>) -> Result<FenceDrivers> {
    let driver = |(name, command): (&String, &FenceCommand)| {
        command
            .check()
            .map_err(|why| anyhow::anyhow!("the fencing driver '{name}' cannot be used: {why}"))?;
        Ok((name.clone(), Arc::new(command.clone()) as Arc<dyn FenceDriver>))
    };
    commands.iter().map(driver).collect()
}

async fn listen(address: SocketAddr, option: &str) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; is another cloud running there? {option} names another address")
    })?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// An address that this machine can connect to, for a listening address.
fn reachable(listened: SocketAddr) -> SocketAddr {
    let ip = match listened.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listened.port())
}

/// The URL for joining agents: by the first configured name, otherwise by the listening address. If that is a
/// wildcard, by the name in the clients' URL.
fn agent_url(options: &Options<'_>, address: SocketAddr, url: &str) -> String {
    let of_clients =
        || url.split("://").nth(1)?.split('/').next()?.rsplit_once(':').map(|(host, _)| host.to_owned());
    let bracketed = |name: &String| match name.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => name.clone(),
    };
    let named = options.agent_names.first().map(bracketed);
    let host = match address.ip().is_unspecified() {
        true => named.or_else(of_clients),
        false => named,
    };
    match host {
        Some(host) => format!("https://{host}:{}", address.port()),
        None => format!("https://{}", reachable(address)),
    }
}

/// The names in the control plane's certificate for every address that agents use: the given names, and the
/// machine's own name if a certificate can carry it.
fn server_names(given: &[String]) -> Vec<String> {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = given.to_vec();
    if is_host_name(&machine) && !names.contains(&machine) {
        names.push(machine);
    }
    names
}

/// An opened store.
struct Opened {
    store: Store,
    /// The cloud's time, which is never before the store's last commit.
    time: CloudTime,
    place: Place,
}

/// Where a store is.
#[derive(Clone)]
enum Place {
    Sqlite(PathBuf),
    Postgres(String),
}

async fn open_store(data: &DataDir, postgres: Option<&str>) -> Result<Opened> {
    let place = postgres
        .map_or_else(|| Place::Sqlite(data.path("store.db")), |config| Place::Postgres(config.to_owned()));
    let at = place.clone();
    // Opening blocks: PostgreSQL's engine has its own event loop.
    let writer = tokio::task::spawn_blocking(move || -> Result<Writer> {
        let engine: Box<dyn Engine> = match &at {
            Place::Postgres(config) => Box::new(Postgres::open(config)?),
            Place::Sqlite(path) => Box::new(Sqlite::open(path)?),
        };
        let fresh = Incarnation::from_random(clock::entropy()());
        Ok(Writer::open(engine, clock::now(), fresh)?)
    });
    let writer = writer.await??;
    let time = CloudTime::new(writer.last_commit_at());
    let store = Store::start(writer, time.clock(), clock::entropy());
    Ok(Opened { store, time, place })
}

/// Opens a store again after a leadership ended, and takes it over as at a start.
fn open_again(place: &Place, time: &CloudTime, known: &State) -> Result<Writer, OpenError> {
    let engine: Box<dyn Engine> = match place {
        Place::Postgres(config) => Box::new(Postgres::open_again(config)?),
        Place::Sqlite(path) => Box::new(Sqlite::open_again(path)?),
    };
    let mut writer = Writer::open_again(engine, time.now(), known)?;
    time.raise(writer.last_commit_at());
    let taken = writer.transact(time.now(), &mut clock::entropy(), cause("take over"), take_over);
    match taken {
        Ok(_) => Ok(writer),
        Err(error) => Err(OpenError::Failed {
            store: writer.describe(),
            doing: "taking it over",
            cause: error.internal.clone().unwrap_or_else(|| error.to_string()),
        }),
    }
}

fn take_over(txn: &mut Txn<'_>) -> lenticular_model::Result<()> {
    bootstrap::take_over(txn);
    Ok(())
}

fn cause(why: &str) -> Cause {
    Cause { actor: "lenticular".to_owned(), request_id: String::new(), why: why.to_owned() }
}

/// Fills an empty store, or takes over an existing one. Returns the administrator's password.
async fn first_records(store: &Store, data: &DataDir) -> Result<String> {
    let empty = store.state().domains.is_empty();
    let known = data.has("admin-password");
    if empty && known {
        anyhow::bail!(
            "the store is empty, but {} belongs to a cloud that was there before. Restore its store; or \
                 move that file away to begin a new cloud here.",
            data.path("admin-password").display()
        );
    }
    // The file is written after the commit: after a crash between the two there is no password file, and the next
    // start makes a new password.
    let password = if known { data.admin_password()? } else { data::random_text(24) };
    if empty {
        let hash = hash_password(&password)?;
        store.transact(cause("bootstrap"), move |txn| Ok(bootstrap::bootstrap(txn, &hash))).await?;
    } else if !known {
        tracing::warn!(
            "the file admin-password was gone: the administrator has a new password, which is in it"
        );
        let hash = hash_password(&password)?;
        store.transact(cause("admin password reset"), move |txn| bootstrap::reset_admin(txn, hash)).await?;
    }
    if !known {
        data::write_private(&data.path("admin-password"), &format!("{password}\n"))?;
    }
    store.transact(cause("take over"), take_over).await?;
    Ok(password)
}

async fn trim(store: Store, clock: Clock) {
    loop {
        tokio::time::sleep(TRIM_EVERY).await;
        match store.trim_journal(clock().plus_s(-JOURNAL_LIFE_S)).await {
            Ok(0) => {}
            Ok(entries) => tracing::info!(entries, "cut off the journal's old end"),
            Err(error) => tracing::warn!(%error, "the journal could not be trimmed"),
        }
    }
}

/// How long requests in progress may take after the stop signal.
const STOP_GRACE: Duration = Duration::from_secs(2);

impl ControlPlane {
    /// Serves until the stop signal, then closes the store.
    ///
    /// # Errors
    /// The listener broke.
    pub(crate) async fn serve(self, mut stop: watch::Receiver<bool>) -> Result<()> {
        let store = self.app.store.clone();
        let stopping = |mut stop: watch::Receiver<bool>| async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let clients = lenticular_api::serve(self.app.clone(), self.listener, stopping(stop.clone()));
        let agents = lenticular_api::serve_agents(
            self.app,
            self.agent_listener,
            self.agent_tls,
            stopping(stop.clone()),
        );
        let served = tokio::select! {
            served = async { tokio::try_join!(clients, agents) } => served.map(drop),
            // Polls wait by design, so the stop does not wait for them.
            () = async { let _ = stop.wait_for(|s| *s).await; tokio::time::sleep(STOP_GRACE).await } => Ok(()),
        };
        let closed = store.close().await;
        served?;
        closed.context("the store could not be closed cleanly")
    }
}
