//! The link to the control plane over HTTP: one bearer token, a deadline on every call.

use crate::link::{Call, Chunks, Link, LinkError};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    header::{AUTHORIZATION, CONTENT_TYPE},
    Method, Request, Response, StatusCode,
};
use hyper_util::{
    client::legacy::{connect::HttpConnector, Client},
    rt::TokioExecutor,
};
use lenticular_model::{HostId, ImageId, ServerId};
use lenticular_wire::agent::{Answer, Hello, Orders, OrdersQuery, Report, Welcome};
use serde::{de::DeserializeOwned, Serialize};
use std::{future::Future, time::Duration};

/// An ordinary call.
const CALL_S_MAX: u64 = 15;
/// Beyond what a poll was asked to wait.
const POLL_SLACK_MS: u64 = 10_000;
/// Between two pieces of an image.
const CHUNK_S_MAX: u64 = 30;
/// The largest answer that is read whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The control plane behind a URL.
pub struct HttpLink {
    base: String,
    authorization: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// The URL given is not one that this link can use.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not the URL of a control plane; it looks like http://10.0.0.1:8700")]
pub struct BadUrl(String);

impl HttpLink {
    /// A link to the control plane at `base` (`http://host:port`), with the secret that it knows agents by.
    ///
    /// # Errors
    /// The URL is not an `http://` one.
    pub fn new(base: &str, secret: &str) -> Result<Self, BadUrl> {
        let trimmed = base.trim_end_matches('/');
        let uri: hyper::Uri = trimmed.parse().map_err(|_| BadUrl(base.to_owned()))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(BadUrl(base.to_owned()));
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        Ok(Self {
            base: trimmed.to_owned(),
            authorization: format!("Bearer {secret}"),
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    fn unreachable(&self, why: impl ToString) -> LinkError {
        LinkError::Unreachable { at: self.base.clone(), why: why.to_string() }
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
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|e| LinkError::Nonsense(e.to_string()))?;
        let response = self.client.request(request).await.map_err(|e| self.unreachable(chain(&e)))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(LinkError::Unknown),
            status => {
                let body = read(response.into_body(), 4096).await.unwrap_or_default();
                let body = String::from_utf8_lossy(&body).into_owned();
                Err(LinkError::Refused { status: status.as_u16(), body })
            }
        }
    }

    async fn post<T: Serialize>(&self, path: &str, body: &T) -> Result<Response<Incoming>, LinkError> {
        let body = serde_json::to_vec(body).map_err(|e| LinkError::Nonsense(e.to_string()))?;
        self.send(Method::POST, path, body.into()).await
    }
}

/// The whole chain of causes: hyper's outermost error says next to nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

async fn read(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, LinkError> {
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
    fn hello<'a>(&'a self, hello: &'a Hello) -> Call<'a, Welcome> {
        Box::pin(self.within(Duration::from_secs(CALL_S_MAX), async move {
            json(self.post("/agent/v1/hello", hello).await?).await
        }))
    }

    fn orders(&self, host: HostId, query: OrdersQuery) -> Call<'_, Orders> {
        let OrdersQuery { session, incarnation, after, wait_ms } = query;
        let path = format!(
            "/agent/v1/hosts/{host}/orders?session={session}&incarnation={incarnation}&after={after}&wait_ms={wait_ms}"
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

    fn image(&self, image: ImageId) -> Call<'_, Box<dyn Chunks>> {
        Box::pin(self.within(Duration::from_secs(CALL_S_MAX), async move {
            let response =
                self.send(Method::GET, &format!("/agent/v1/images/{image}/data"), Bytes::new()).await?;
            let chunks = BodyChunks { body: response.into_body(), at: self.base.clone() };
            Ok(Box::new(chunks) as Box<dyn Chunks>)
        }))
    }

    fn user_data(&self, server: ServerId) -> Call<'_, Option<Vec<u8>>> {
        Box::pin(self.within(Duration::from_secs(CALL_S_MAX), async move {
            match self.send(Method::GET, &format!("/agent/v1/servers/{server}/user-data"), Bytes::new()).await
            {
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
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// Answers one request with these bytes; the request comes back.
    async fn serve_once(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 65536];
            let n = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..n]).into_owned()
        });
        (url, served)
    }

    fn host() -> HostId {
        HostId::from_random([5; 16])
    }

    #[tokio::test]
    async fn a_host_that_is_not_known_is_told_so() {
        let (url, served) = serve_once("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n").await;
        let link = HttpLink::new(&url, "s3cret").unwrap();
        let query = OrdersQuery {
            session: 3,
            incarnation: lenticular_model::Incarnation::from_random([1; 16]),
            after: 7,
            wait_ms: 5,
        };
        assert_eq!(link.orders(host(), query).await, Err(LinkError::Unknown));
        let request = served.await.unwrap();
        assert!(
            request.contains("session=3&incarnation=") && request.contains("after=7&wait_ms=5"),
            "{request}"
        );
        assert!(request.contains("authorization: Bearer s3cret"), "{request}");
    }

    #[tokio::test]
    async fn images_come_piece_by_piece_and_missing_user_data_is_none() {
        let (url, _served) = serve_once(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        )
        .await;
        let link = HttpLink::new(&url, "x").unwrap();
        let mut chunks = link.image(ImageId::from_random([1; 16])).await.unwrap();
        let mut all = Vec::new();
        while let Some(piece) = chunks.next().await.unwrap() {
            all.extend_from_slice(&piece);
        }
        assert_eq!(all, b"abcde");
        let (url, _served) = serve_once("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        let link = HttpLink::new(&url, "x").unwrap();
        assert_eq!(link.user_data(ServerId::from_random([1; 16])).await, Ok(None));
    }

    #[tokio::test]
    async fn nobody_there_and_bad_urls_are_said_plainly() {
        let link = HttpLink::new("http://127.0.0.1:1", "x").unwrap();
        let error = link.user_data(ServerId::from_random([1; 16])).await.unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
        assert!(HttpLink::new("https://x", "x").is_err());
        assert!(HttpLink::new("nonsense", "x").is_err());
    }
}
