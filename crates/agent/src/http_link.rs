//! The link to the control plane over HTTP and mutual TLS: with a deadline on every call, and with a certificate
//! that is renewed before its end.

use crate::{
    endpoint::{Connect, Endpoint},
    file_body::FileBody,
    identity::{Identity, IdentityError, certificate_request, new_key},
    link::{Call, Chunks, Link, LinkError},
    peer::Stream,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, CONTENT_TYPE, UPGRADE},
    http::request::Builder,
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use lenticular_model::{HostId, ImageId, Lock, ServerId, compute::operation::SHELVE_S_MAX};
use lenticular_wire::{
    agent::{Answer, CONSOLE_PROTOCOL, Orders, OrdersQuery, Registration, Report, Welcome},
    enrol::{EnrolAnswer, RenewRequest},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{future::Future, path::Path, time::Duration};

/// The deadline of an ordinary call, in seconds.
const CALL_S_MAX: u64 = 15;
/// The deadline for a whole disk, in seconds.
const UPLOAD_S_MAX: u64 = SHELVE_S_MAX as u64;
/// The additional time for a poll beyond its requested wait, in milliseconds.
const POLL_SLACK_MS: u64 = 10_000;
/// The longest time between two pieces of an image, in seconds.
const CHUNK_S_MAX: u64 = 30;
/// The largest answer that is read whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The longest sleep until the next check of the certificate, in seconds: clocks may be set.
const LOOK_S_MAX: i64 = 10;
/// The pause before a failed renewal is tried again. A third of the certificate's life is left for retries.
const RENEW_RETRY: Duration = Duration::from_secs(30);

type Sent = UnsyncBoxBody<Bytes, std::io::Error>;
type HttpClient = Client<Connect, Sent>;

/// The control plane at a URL.
pub struct HttpLink {
    endpoint: Endpoint,
    identity: Identity,
    /// The client, with the serial number of its connections' certificate.
    client: Lock<(String, HttpClient)>,
}

impl HttpLink {
    /// A link to the control plane at `base` (`https://host:port`), as the host of this identity.
    ///
    /// # Errors
    /// The URL does not have that form.
    pub fn new(base: &str, identity: Identity) -> Result<Self, IdentityError> {
        let endpoint = Endpoint::of(base)?;
        let client = client(&endpoint, &identity);
        Ok(Self { endpoint, client: Lock::new((identity.certificate().serial, client)), identity })
    }

    /// The client. It keeps its connections as long as the certificate is the same.
    fn client(&self) -> HttpClient {
        let serial = self.identity.certificate().serial;
        let mut held = self.client.lock();
        if held.0 != serial {
            *held = (serial, client(&self.endpoint, &self.identity));
        }
        held.1.clone()
    }

    /// Renews the certificate whenever two thirds of its life are over, while this future is polled.
    pub async fn keep_identity(&self) {
        loop {
            let (now, renew_at) = (self.identity.now(), self.identity.certificate().renew_at());
            if now < renew_at {
                if let Err(error) = self.identity.keep_pem() {
                    tracing::warn!(%error, "programs that read the host's certificate do not find it");
                }
                let ms = renew_at.since_ms(now).clamp(1, LOOK_S_MAX * 1_000);
                tokio::time::sleep(Duration::from_millis(u64::try_from(ms).unwrap_or(1))).await;
                continue;
            }
            match self.renew().await {
                Ok(()) => {
                    let until = self.identity.certificate().not_after.iso();
                    tracing::info!(until, "the host's certificate was renewed");
                }
                Err(why) => {
                    let until = self.identity.certificate().not_after.iso();
                    tracing::warn!(%why, until, "the host's certificate could not be renewed; it is tried again");
                    tokio::time::sleep(RENEW_RETRY).await;
                }
            }
        }
    }

    /// Gets a new certificate for a new key, and uses it from then on.
    ///
    /// # Errors
    /// The control plane cannot be reached or refuses, or the new certificate cannot be used or saved.
    pub async fn renew(&self) -> Result<(), IdentityError> {
        self.identity.check_time()?;
        let key = new_key()?;
        let request = RenewRequest { request: certificate_request(&key, &self.identity.host_name())? };
        let asked = self.within(Duration::from_secs(CALL_S_MAX), async {
            json::<EnrolAnswer>(self.post("/agent/v1/renew", &request).await?).await
        });
        let answer = asked.await.map_err(|error| match error {
            LinkError::Refused { status, body } => IdentityError::Refused { status, message: body },
            error => {
                IdentityError::Unreachable { at: self.endpoint.base().to_owned(), why: error.to_string() }
            }
        })?;
        self.identity.replace(&answer, &key)
    }

    fn unreachable(&self, why: impl ToString) -> LinkError {
        LinkError::Unreachable { at: self.endpoint.base().to_owned(), why: why.to_string() }
    }

    async fn within<T>(
        &self,
        deadline: Duration,
        work: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        match tokio::time::timeout(deadline, work).await {
            Ok(result) => result,
            Err(_) => Err(self.unreachable(format!("no answer within {} s", deadline.as_secs()))),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, LinkError> {
        let whole = Full::new(body).map_err(|never| match never {});
        self.send_body(method, path, "application/json", Sent::new(whole)).await
    }

    async fn send_body(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Sent,
    ) -> Result<Response<Incoming>, LinkError> {
        self.request(self.head(method, path).header(CONTENT_TYPE, kind), body).await
    }

    fn head(&self, method: Method, path: &str) -> Builder {
        Request::builder().method(method).uri(format!("{}{path}", self.endpoint.base()))
    }

    async fn request(&self, head: Builder, body: Sent) -> Result<Response<Incoming>, LinkError> {
        let request = head.body(body).map_err(|e| LinkError::Nonsense(e.to_string()))?;
        let response = self.client().request(request).await.map_err(|e| self.unreachable(chain(&e)))?;
        match response.status() {
            status if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS => Ok(response),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(LinkError::Unknown),
            status => {
                let body = read(response.into_body(), 4096).await.unwrap_or_default();
                Err(LinkError::Refused { status: status.as_u16(), body: message(&body) })
            }
        }
    }

    async fn post<T: Serialize>(&self, path: &str, body: &T) -> Result<Response<Incoming>, LinkError> {
        let body = serde_json::to_vec(body).map_err(|e| LinkError::Nonsense(e.to_string()))?;
        self.send(Method::POST, path, body.into()).await
    }
}

fn client(endpoint: &Endpoint, identity: &Identity) -> HttpClient {
    let connect = Connect { endpoint: endpoint.clone(), identity: identity.clone() };
    Client::builder(TokioExecutor::new()).build(connect)
}

/// The message in a refusal.
pub(crate) fn message(body: &[u8]) -> String {
    let read: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = read.as_ref().and_then(|body| body["error"]["message"].as_str());
    message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}

/// The whole chain of causes: hyper's outermost error says very little.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

pub(crate) async fn read(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, LinkError> {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| LinkError::Nonsense(chain(&e)))?;
        if let Some(data) = frame.data_ref() {
            if all.len() + data.len() > bytes_max {
                return Err(LinkError::Nonsense(format!("it is longer than {bytes_max} bytes")));
            }
            all.extend_from_slice(data);
        }
    }
    Ok(all)
}

async fn json<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, LinkError> {
    let body = read(response.into_body(), ANSWER_BYTES_MAX).await?;
    serde_json::from_slice(&body).map_err(|e| LinkError::Nonsense(e.to_string()))
}

impl Link for HttpLink {
    fn register<'a>(&'a self, registration: &'a Registration) -> Call<'a, Welcome> {
        Box::pin(self.within(Duration::from_secs(CALL_S_MAX), async move {
            json(self.post("/agent/v1/hello", registration).await?).await
        }))
    }

    fn orders(&self, host: HostId, query: OrdersQuery) -> Call<'_, Orders> {
        let OrdersQuery { session, incarnation, after, wait_ms, receipt } = query;
        // A receipt already is URL-safe base64.
        let receipt = receipt.map_or(String::new(), |receipt| format!("&receipt={receipt}"));
        let path = format!(
            "/agent/v1/hosts/{host}/orders?session={session}&incarnation={incarnation}&after={after}&wait_ms={wait_ms}{receipt}"
        );
        Box::pin(self.within(Duration::from_millis(wait_ms + POLL_SLACK_MS), async move {
            json(self.send(Method::GET, &path, Bytes::new()).await?).await
        }))
    }

    fn report<'a>(&'a self, host: HostId, report: &'a Report) -> Call<'a, ()> {
        Box::pin(self.within(Duration::from_secs(CALL_S_MAX), async move {
            self.post(&format!("/agent/v1/hosts/{host}/observations"), report).await.map(drop)
        }))
    }

    fn answer<'a>(&'a self, host: HostId, answer: &'a Answer) -> Call<'a, ()> {
        Box::pin(self.within(Duration::from_secs(CALL_S_MAX), async move {
            self.post(&format!("/agent/v1/hosts/{host}/answers"), answer).await.map(drop)
        }))
    }

    fn join_console<'a>(&'a self, host: HostId, connection: &'a str) -> Call<'a, Stream> {
        Box::pin(self.within(Duration::from_secs(CALL_S_MAX), async move {
            let head = self.head(Method::GET, &format!("/agent/v1/hosts/{host}/consoles/{connection}"));
            let head = head.header(CONNECTION, "upgrade").header(UPGRADE, CONSOLE_PROTOCOL);
            let nothing = Full::new(Bytes::new()).map_err(|never| match never {});
            let response = self.request(head, Sent::new(nothing)).await?;
            let stream = hyper::upgrade::on(response).await.map_err(|e| self.unreachable(chain(&e)))?;
            Ok(Box::new(TokioIo::new(stream)) as Stream)
        }))
    }

    fn image(&self, image: ImageId) -> Call<'_, Box<dyn Chunks>> {
        Box::pin(self.within(Duration::from_secs(CALL_S_MAX), async move {
            let response =
                self.send(Method::GET, &format!("/agent/v1/images/{image}/data"), Bytes::new()).await?;
            let chunks = BodyChunks { body: response.into_body(), at: self.endpoint.base().to_owned() };
            Ok(Box::new(chunks) as Box<dyn Chunks>)
        }))
    }

    fn upload<'a>(&'a self, server: ServerId, upload: &'a str, disk: &'a Path) -> Call<'a, ()> {
        Box::pin(self.within(Duration::from_secs(UPLOAD_S_MAX), async move {
            let unreadable = |e: std::io::Error| LinkError::Nonsense(format!("{}: {e}", disk.display()));
            let file = FileBody::open(disk).await.map_err(unreadable)?;
            let path = format!("/agent/v1/servers/{server}/disk?upload={upload}");
            self.send_body(Method::PUT, &path, "application/octet-stream", Sent::new(file)).await.map(drop)
        }))
    }

    fn password<'a>(&'a self, server: ServerId, password: &'a str) -> Call<'a, ()> {
        let body = Bytes::copy_from_slice(password.as_bytes());
        Box::pin(self.within(Duration::from_secs(CALL_S_MAX), async move {
            self.send(Method::PUT, &format!("/agent/v1/servers/{server}/password"), body).await.map(drop)
        }))
    }

    fn user_data(&self, server: ServerId) -> Call<'_, Option<Vec<u8>>> {
        self.document(format!("/agent/v1/servers/{server}/user-data"))
    }

    fn files(&self, server: ServerId) -> Call<'_, Option<Vec<u8>>> {
        self.document(format!("/agent/v1/servers/{server}/files"))
    }
}

impl HttpLink {
    /// A document that may be missing.
    fn document(&self, path: String) -> Call<'_, Option<Vec<u8>>> {
        Box::pin(self.within(Duration::from_secs(CALL_S_MAX), async move {
            match self.send(Method::GET, &path, Bytes::new()).await {
                Ok(response) => read(response.into_body(), ANSWER_BYTES_MAX).await.map(Some),
                Err(LinkError::Unknown) => Ok(None),
                Err(error) => Err(error),
            }
        }))
    }
}

struct BodyChunks {
    body: Incoming,
    at: String,
}

impl Chunks for BodyChunks {
    fn next(&mut self) -> Call<'_, Option<Bytes>> {
        Box::pin(async move {
            loop {
                let frame = tokio::time::timeout(Duration::from_secs(CHUNK_S_MAX), self.body.frame());
                let unreachable = |why: String| LinkError::Unreachable { at: self.at.clone(), why };
                let frame = frame
                    .await
                    .map_err(|_| unreachable(format!("no byte of the image within {CHUNK_S_MAX} s")))?;
                match frame {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(unreachable(chain(&error))),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Ok(Some(data));
                        }
                    }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::test_ca::{BEGIN_S, Ca, clock};
    use lenticular_wire::certificate::Role;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// A link to a control plane that answers one request with these bytes. The task returns the request.
    async fn serve_once(answer: &'static str) -> (HttpLink, tokio::task::JoinHandle<String>) {
        let (ca, (_, clock)) = (Ca::new(), clock());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let acceptor = ca.control_plane(&clock);
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            assert_eq!(Identity::peer_of(stream.get_ref().1).as_deref(), Some("rack-1"));
            let mut request = vec![0; 65536];
            let n = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..n]).into_owned()
        });
        (HttpLink::new(&url, ca.host("rack-1", &clock, None)).unwrap(), served)
    }

    fn host() -> HostId {
        HostId::from_random([5; 16])
    }

    #[tokio::test]
    async fn a_host_that_is_not_known_is_told_so() {
        let (link, served) = serve_once("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n").await;
        let query = OrdersQuery {
            session: 3,
            incarnation: lenticular_model::Incarnation::from_random([1; 16]),
            after: 7,
            wait_ms: 5,
            receipt: Some("sealed".to_owned()),
        };
        assert_eq!(link.orders(host(), query).await, Err(LinkError::Unknown));
        let request = served.await.unwrap();
        assert!(
            request.contains("session=3&incarnation=")
                && request.contains("after=7&wait_ms=5&receipt=sealed"),
            "{request}"
        );
    }

    #[tokio::test]
    async fn images_come_piece_by_piece_and_missing_user_data_is_none() {
        let (link, _served) = serve_once(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        )
        .await;
        let mut chunks = link.image(ImageId::from_random([1; 16])).await.unwrap();
        let mut all = Vec::new();
        while let Some(piece) = chunks.next().await.unwrap() {
            all.extend_from_slice(&piece);
        }
        assert_eq!(all, b"abcde");
        let (link, _served) = serve_once("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(link.user_data(ServerId::from_random([1; 16])).await, Ok(None));
    }

    #[tokio::test]
    async fn one_connection_serves_many_calls_until_the_certificate_changes() {
        let (ca, (_, clock)) = (Ca::new(), clock());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let acceptor = ca.control_plane(&clock);
        let (count, counted) = tokio::sync::watch::channel(0);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await.unwrap();
                    let mut request = [0; 4096];
                    while stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                    }
                });
            }
        });
        let identity = ca.host("rack-1", &clock, None);
        let link = HttpLink::new(&url, identity.clone()).unwrap();
        let answer = Answer { id: 1, result: Ok(String::new()) };
        for _ in 0..3 {
            link.answer(host(), &answer).await.unwrap();
        }
        assert_eq!(*counted.borrow(), 1);
        let key = new_key().unwrap();
        let certificate = ca.certificate("rack-1", Role::Host, &key, BEGIN_S);
        identity.replace(&EnrolAnswer { certificate, ca: ca.pem.clone() }, &key).unwrap();
        for _ in 0..3 {
            link.answer(host(), &answer).await.unwrap();
        }
        assert_eq!(*counted.borrow(), 2);
    }

    #[tokio::test]
    async fn unreachable_servers_and_bad_urls_give_plain_errors() {
        let (ca, (_, clock)) = (Ca::new(), clock());
        let identity = ca.host("rack-1", &clock, None);
        let link = HttpLink::new("https://127.0.0.1:1", identity.clone()).unwrap();
        let error = link.user_data(ServerId::from_random([1; 16])).await.unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
        assert!(HttpLink::new("http://x", identity.clone()).is_err());
        assert!(HttpLink::new("nonsense", identity).is_err());
    }
}
