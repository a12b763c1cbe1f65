//! One connection to a database server: calls and answers, notices of the server, and probes of the connection.

use super::{
    frame::{BadFrame, Framer},
    operation::Operation,
    remote::{Remote, Stream},
    replica::BadUpdate,
};
use serde_json::{Value, json};
use std::{collections::VecDeque, io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    time::Instant,
};

/// After this long without a message the server is probed; after twice that time the connection counts as lost.
const PROBE_AFTER: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const CHUNK_BYTES: usize = 64 * 1024;

/// The database is unreachable, or refuses.
#[derive(Debug, thiserror::Error)]
pub enum OvsdbError {
    /// No connection.
    #[error("the database at {remote} cannot be reached: {source}")]
    Unreachable {
        /// The server's address.
        remote: String,
        /// The cause.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the database broke: {0}")]
    Broken(#[from] io::Error),
    /// The server closed the connection.
    #[error("the database closed the connection")]
    Closed,
    /// No message for too long.
    #[error("the database does not answer")]
    Silent,
    /// The received bytes are no message.
    #[error("the database's message cannot be read: {0}")]
    Frame(#[from] BadFrame),
    /// The message is invalid.
    #[error("the database's message makes no sense: {0}")]
    Nonsense(String),
    /// An update does not fit the copy.
    #[error("the database's update does not fit: {0}")]
    Update(#[from] BadUpdate),
    /// A call was refused.
    #[error("the database refused '{method}': {error}")]
    Refused {
        /// The method.
        method: String,
        /// The server's error text.
        error: String,
    },
    /// A transaction was refused, and changed nothing.
    #[error("the database refused a transaction: {error} ({details})")]
    Transaction {
        /// The kind of error, as the protocol names it.
        error: String,
        /// The server's details.
        details: String,
    },
    /// The server is a follower in its cluster.
    #[error("the database at {0} is not the leader of its cluster")]
    NotLeader(String),
}

impl OvsdbError {
    /// Whether the error is only the answer to a transaction; then the connection is still usable.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Transaction { .. })
    }

    /// Whether a transaction's condition did not hold.
    pub fn is_unmet(&self) -> bool {
        matches!(self, Self::Transaction { error, .. } if error == "timed out")
    }
}

/// A message that the server sent without a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// `update2`, …
    pub method: String,
    /// Its content.
    pub params: Value,
}

/// A connection.
pub struct Session {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    /// The bytes still to send.
    out: Vec<u8>,
    chunk: Vec<u8>,
    framer: Framer,
    notices: VecDeque<Notice>,
    last_id: u64,
    heard_at: Instant,
    probing: bool,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// No server answers in time.
    pub async fn connect(remote: &Remote) -> Result<Self, OvsdbError> {
        let connected = tokio::time::timeout(CONNECT_WITHIN, remote.connect()).await;
        let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let unreachable = |source| OvsdbError::Unreachable { remote: remote.to_string(), source };
        Ok(Self::over(stream.map_err(unreachable)?))
    }

    /// A session over an existing stream.
    pub fn over(stream: Box<dyn Stream>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            out: Vec::new(),
            chunk: vec![0; CHUNK_BYTES],
            framer: Framer::default(),
            notices: VecDeque::new(),
            last_id: 0,
            heard_at: Instant::now(),
            probing: false,
        }
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    /// The connection is lost, or the call is refused.
    pub async fn call(&mut self, method: &str, params: Value) -> Result<Value, OvsdbError> {
        self.last_id += 1;
        let id = self.last_id;
        self.queue(&json!({ "method": method, "params": params, "id": id }));
        let answer = async {
            loop {
                let message = self.message().await?;
                if message["id"].as_u64() != Some(id) || message.get("method").is_some() {
                    continue;
                }
                return match &message["error"] {
                    Value::Null => Ok(message["result"].clone()),
                    error => Err(OvsdbError::Refused { method: method.to_owned(), error: error.to_string() }),
                };
            }
        };
        tokio::time::timeout(ANSWER_WITHIN, answer).await.unwrap_or(Err(OvsdbError::Silent))
    }

    /// Runs a transaction: all of it, durably, or nothing.
    ///
    /// # Errors
    /// It is refused, or the connection is lost; after a lost connection its outcome is unknown.
    pub async fn transact(
        &mut self,
        database: &str,
        operations: &[Operation],
    ) -> Result<Vec<Value>, OvsdbError> {
        let mut params = vec![json!(database)];
        params.extend(operations.iter().map(Operation::to_json));
        let result = self.call("transact", Value::Array(params)).await?;
        let Value::Array(results) = result else { return Err(OvsdbError::Nonsense(result.to_string())) };
        let refused = results.iter().find(|result| result["error"].is_string());
        if let Some(result) = refused {
            let text = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
            return Err(OvsdbError::Transaction { error: text("error"), details: text("details") });
        }
        Ok(results)
    }

    /// The server's next notice. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn notice(&mut self) -> Result<Notice, OvsdbError> {
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return Ok(notice);
            }
            // The answer to an abandoned call.
            self.message().await?;
        }
    }

    /// A notice that has arrived and was not read yet.
    pub fn told(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    fn queue(&mut self, message: &Value) {
        self.out.extend_from_slice(message.to_string().as_bytes());
    }

    /// The next message that is an answer; other messages are handled or kept.
    async fn message(&mut self) -> Result<Value, OvsdbError> {
        loop {
            while let Some(bytes) = self.framer.message()? {
                let message: Value =
                    serde_json::from_slice(&bytes).map_err(|e| OvsdbError::Nonsense(e.to_string()))?;
                let method = message["method"].as_str().map(str::to_owned);
                match method.as_deref() {
                    Some("echo") if !message["id"].is_null() => {
                        let answer =
                            json!({ "result": message["params"], "error": null, "id": message["id"] });
                        self.queue(&answer);
                    }
                    Some(method) => self
                        .notices
                        .push_back(Notice { method: method.to_owned(), params: message["params"].clone() }),
                    None => {
                        if message["id"] == json!("probe") {
                            continue;
                        }
                        return Ok(message);
                    }
                }
                if !self.notices.is_empty() {
                    return Ok(Value::Null);
                }
            }
            self.pump().await?;
        }
    }

    /// Sends some of the waiting bytes, or receives some.
    async fn pump(&mut self) -> Result<(), OvsdbError> {
        let quiet_for = if self.probing { 2 * PROBE_AFTER } else { PROBE_AFTER };
        let quiet_at = self.heard_at + quiet_for;
        tokio::select! {
            read = self.reader.read(&mut self.chunk) => {
                let count = read?;
                if count == 0 {
                    return Err(OvsdbError::Closed);
                }
                self.framer.feed(&self.chunk[..count]);
                (self.heard_at, self.probing) = (Instant::now(), false);
            }
            written = self.writer.write(&self.out), if !self.out.is_empty() => {
                let count = written?;
                self.out.drain(..count);
            }
            () = tokio::time::sleep_until(quiet_at) => {
                if self.probing {
                    return Err(OvsdbError::Silent);
                }
                self.probing = true;
                self.queue(&json!({ "method": "echo", "params": [], "id": "probe" }));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::DuplexStream;

    fn pair() -> (Session, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(256);
        (Session::over(Box::new(ours)), theirs)
    }

    async fn read_message(server: &mut DuplexStream) -> Value {
        let (mut framer, mut chunk) = (Framer::default(), [0; 64]);
        loop {
            if let Some(message) = framer.message().unwrap() {
                return serde_json::from_slice(&message).unwrap();
            }
            let count = server.read(&mut chunk).await.unwrap();
            framer.feed(&chunk[..count]);
        }
    }

    async fn say(server: &mut DuplexStream, message: Value) {
        server.write_all(message.to_string().as_bytes()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_answered_between_echoes_and_updates() {
        let (mut session, mut server) = pair();
        let serving = async {
            let call = read_message(&mut server).await;
            say(&mut server, json!({ "method": "echo", "params": ["x"], "id": "echo" })).await;
            assert_eq!(
                read_message(&mut server).await,
                json!({ "result": ["x"], "error": null, "id": "echo" })
            );
            say(&mut server, json!({ "method": "update2", "params": ["m", {}], "id": null })).await;
            say(&mut server, json!({ "result": [{ "count": 1 }], "error": null, "id": call["id"] })).await;
        };
        let hello = [Operation::Comment("hello".to_owned())];
        let (answer, ()) = tokio::join!(session.transact("db", &hello), serving);
        assert_eq!(answer.unwrap(), [json!({ "count": 1 })]);
        assert_eq!(session.notice().await.unwrap().method, "update2");
        drop(server);
        assert!(matches!(session.notice().await, Err(OvsdbError::Closed)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_probed_and_then_given_up() {
        let (mut session, mut server) = pair();
        let began = Instant::now();
        let serving = async {
            assert_eq!(read_message(&mut server).await["method"], "echo");
            say(&mut server, json!({ "result": [], "error": null, "id": "probe" })).await;
            assert_eq!(read_message(&mut server).await["method"], "echo");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            end = session.notice() => assert!(matches!(end, Err(OvsdbError::Silent))),
            () = serving => unreachable!(),
        }
        assert_eq!(began.elapsed(), 3 * PROBE_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_told_from_broken_connections() {
        let (mut session, mut server) = pair();
        let results = json!([{ "error": "timed out", "details": "wait" }, null]);
        let serving = async {
            let call = read_message(&mut server).await;
            say(&mut server, json!({ "result": results, "error": null, "id": call["id"] })).await;
        };
        let (answer, ()) = tokio::join!(session.transact("db", &[]), serving);
        let error = answer.unwrap_err();
        assert!(error.is_unmet() && error.is_refusal());
        say(&mut server, json!({ "no": "message" })).await;
        say(&mut server, json!([1])).await;
        server.write_all(b"nonsense").await.unwrap();
        assert!(matches!(session.notice().await, Err(OvsdbError::Frame(BadFrame::NoObject))));
    }
}
