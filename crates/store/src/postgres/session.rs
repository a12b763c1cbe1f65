//! One connection to PostgreSQL and the runtime that drives it, for callers that block.

use crate::OpenError;
use futures_util::TryStreamExt;
use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::{
    AsyncMessage, Client, Config, NoTls, Row, Socket,
    error::{DbError, Severity, SqlState},
    tls::NoTlsStream,
    types::ToSql,
};

/// The time limit for connecting, and for each answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// How often the runtime may look at the socket: to read news, pass it on, and act on it.
const YIELDS: usize = 4;

/// A statement failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server reports that it did not execute the statement.
    Refused(String),
    /// The connection is lost or silent, so the outcome is unknown.
    Broken(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) | Self::Broken(why) => f.write_str(why),
        }
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
            return Self::Broken(format!("{error}{cause}"));
        };
        let detail = refusal.detail().map_or(String::new(), |detail| format!(" ({detail})"));
        let text =
            format!("PostgreSQL says: {}{detail}, SQLSTATE {}", refusal.message(), refusal.code().code());
        // After a severe error the server ends the session, possibly after the commit.
        match refusal.parsed_severity() {
            Some(Severity::Error) => Self::Refused(text),
            _ => Self::Broken(text),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// A connection. Dropping it ends the session without waiting, so it may be dropped inside an asynchronous task.
pub(super) struct Session {
    client: Client,
    connection: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
    /// The server's word that it gave up waiting for a synchronous standby.
    unreplicated: Arc<OnceLock<String>>,
}

impl Session {
    /// Connects, and runs `settings`.
    pub(super) fn connect(config: &Config, settings: &str) -> Result<Self, Trouble> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connected = runtime.block_on(async { timeout(DEADLINE, connect(config)).await });
        let (client, connection) = connected.map_err(|_| silent())??;
        let unreplicated = Arc::new(OnceLock::new());
        let connection = runtime.spawn(drive(connection, unreplicated.clone()));
        let session = Self { client, connection: Some(connection), runtime: Some(runtime), unreplicated };
        session.run(session.client.batch_execute(settings))?;
        Ok(session)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// True if the server has ended the session, and said so or hung up.
    pub(super) fn has_ended(&self) -> bool {
        let Ok(runtime) = self.runtime() else { return true };
        // No task has looked at the socket since the last call. During a yield the runtime looks, and the
        // connection's task acts on the news.
        runtime.block_on(async {
            for _ in 0..YIELDS {
                tokio::task::yield_now().await;
            }
        });
        self.client.is_closed()
    }

    /// Waits for one answer, until the deadline. A success that no standby has is none: PostgreSQL reports it when
    /// somebody cancels its wait for a synchronous standby, with only a warning.
    pub(super) fn run<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Trouble> {
        let runtime = self.runtime()?;
        let answer = runtime.block_on(async { timeout(DEADLINE, answer).await }).map_err(|_| silent())?;
        match self.unreplicated.get() {
            Some(warning) => Err(Trouble::Broken(warning.clone())),
            None => Ok(answer?),
        }
    }

    /// Passes on the rows of a query as they come. The deadline restarts with each row.
    pub(super) fn for_each(
        &self,
        query: &str,
        params: &[&(dyn ToSql + Sync)],
        each: &mut dyn FnMut(Row) -> Result<(), OpenError>,
        fail: impl Fn(Trouble) -> OpenError,
    ) -> Result<(), OpenError> {
        self.runtime().map_err(&fail)?.block_on(async {
            let rows = timeout(DEADLINE, self.client.query_raw(query, params.iter().copied())).await;
            let mut rows = pin!(rows.map_err(|_| fail(silent()))?.map_err(|error| fail(error.into()))?);
            loop {
                let row = timeout(DEADLINE, rows.try_next()).await.map_err(|_| fail(silent()))?;
                match row.map_err(|error| fail(error.into()))? {
                    Some(row) => each(row)?,
                    None => return Ok(()),
                }
            }
        })
    }

    /// Ends the session properly, so that the server releases the session's locks at once.
    pub(super) fn close(mut self) -> Result<(), Trouble> {
        self.run(self.client.batch_execute("SELECT pg_advisory_unlock_all()"))?;
        let (runtime, connection) = (self.runtime.take(), self.connection.take());
        drop(self);
        if let (Some(runtime), Some(connection)) = (runtime, connection) {
            // The client is gone, so the connection ends by itself; its result does not matter.
            let _ = runtime.block_on(async { timeout(DEADLINE, connection).await });
            runtime.shutdown_background();
        }
        Ok(())
    }

    fn runtime(&self) -> Result<&Runtime, Trouble> {
        self.runtime.as_ref().ok_or_else(|| Trouble::Broken("the connection is closed".to_owned()))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Drives a connection to its end, and notes the warning that a commit may not be on the standby.
async fn drive(
    mut connection: tokio_postgres::Connection<Socket, NoTlsStream>,
    unreplicated: Arc<OnceLock<String>>,
) {
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notice(notice)) if is_unreplicated(&notice) => {
                let detail = notice.detail().map_or(String::new(), |detail| format!(" ({detail})"));
                // The warning arrives before the answer. A later one says the same.
                let _ = unreplicated.set(format!("PostgreSQL warns: {}{detail}", notice.message()));
            }
            Ok(_) => {}
            Err(error) => return tracing::warn!(%error, "a connection to PostgreSQL ended"),
        }
    }
}

/// True for the warning of a cancelled wait for a synchronous standby. The text may be in any language, and no error code
/// is for this warning alone; the name of PostgreSQL's function tells.
fn is_unreplicated(notice: &DbError) -> bool {
    notice.routine() == Some("SyncRepWaitForLSN")
        || notice.message().contains("wait for synchronous replication")
}

/// Connects; retries while the server starts or stops.
async fn connect(
    config: &Config,
) -> Result<(Client, tokio_postgres::Connection<Socket, NoTlsStream>), tokio_postgres::Error> {
    loop {
        match config.connect(NoTls).await {
            Err(error) if error.code() == Some(&SqlState::CANNOT_CONNECT_NOW) => {
                tokio::time::sleep(CONNECT_AGAIN_AFTER).await;
            }
            other => return other,
        }
    }
}

/// How long to wait for a server that starts, before asking it again.
const CONNECT_AGAIN_AFTER: Duration = Duration::from_millis(100);

fn silent() -> Trouble {
    Trouble::Broken(format!("PostgreSQL did not answer within {} s", DEADLINE.as_secs()))
}
