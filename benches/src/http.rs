//! A client that is quick enough not to be what is measured.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::net::TcpStream;

const JSON: &str = "application/json";

/// Where and as whom.
#[derive(Clone)]
pub struct Client {
    /// The cloud.
    pub address: SocketAddr,
    /// The token.
    pub token: String,
}

/// One kept-alive connection.
pub struct Connection {
    send: SendRequest<Full<Bytes>>,
    token: String,
}

impl Client {
    /// Connects.
    pub async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { send, token: self.token.clone() })
    }

    /// Makes an image of these bytes.
    pub async fn upload(&self, name: &str, bytes: Vec<u8>, format: &str) -> Result<String> {
        let mut connection = self.connect().await?;
        let new = json!({"name": name, "disk_format": format, "container_format": "bare"});
        let image = connection.post("/image/v2/images", &new, 201).await?;
        let id = image["id"].as_str().context("the image has no id")?.to_owned();
        let path = format!("/image/v2/images/{id}/file");
        let request = connection.request("PUT", &path, "application/octet-stream");
        connection.send.ready().await?;
        let answer = connection.send.send_request(request.body(Full::new(bytes.into()))?).await?;
        ensure!(answer.status() == 204, "the upload was refused: {}", answer.status());
        Ok(id)
    }

    /// Lifts the project's limits.
    pub async fn unlimited(&self) -> Result<()> {
        let mut connection = self.connect().await?;
        let projects = connection.get("/identity/v3/auth/projects").await?;
        let id = projects["projects"][0]["id"].as_str().context("the user has no project")?.to_owned();
        let limits = json!({"quota_set": {"instances": -1, "cores": -1, "ram": -1}});
        let request = connection.request("PUT", &format!("/compute/v2.1/os-quota-sets/{id}"), JSON);
        let body = Full::new(Bytes::from(limits.to_string()));
        connection.send.ready().await?;
        let answer = connection.send.send_request(request.body(body)?).await?;
        ensure!(answer.status() == 200, "the limits were not lifted: {}", answer.status());
        Ok(())
    }

    /// How many servers there are, as the metrics count them.
    pub async fn count(&self) -> Result<usize> {
        let mut connection = self.connect().await?;
        let text = String::from_utf8(connection.bytes("/metrics").await?.to_vec())?;
        let line = text.lines().find_map(|l| l.strip_prefix("lenticular_records{kind=\"server\"} "));
        Ok(line.context("the metrics count no servers")?.parse()?)
    }
}

impl Connection {
    fn request(&self, method: &str, path: &str, kind: &str) -> hyper::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "bench")
            .header("x-auth-token", &self.token)
            .header("openstack-api-version", "compute 2.79")
            .header("content-type", kind)
    }

    /// Posts, and reads the answer.
    pub async fn post(&mut self, path: &str, body: &Value, wanted: u16) -> Result<Value> {
        let (answer, bytes) = self.post_raw(path, body).await?;
        ensure!(answer.status() == wanted, "{path}: {} {}", answer.status(), String::from_utf8_lossy(&bytes));
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Posts, and gives the answer's head and bytes.
    pub async fn post_raw(&mut self, path: &str, body: &Value) -> Result<(Response<()>, Bytes)> {
        let request = self.request("POST", path, JSON).body(Full::new(Bytes::from(body.to_string())))?;
        self.send.ready().await?;
        let (head, body) = self.send.send_request(request).await?.into_parts();
        Ok((Response::from_parts(head, ()), body.collect().await?.to_bytes()))
    }

    /// Gets, and reads the answer.
    pub async fn get(&mut self, path: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.bytes(path).await?)?)
    }

    /// Gets the answer's bytes.
    pub async fn bytes(&mut self, path: &str) -> Result<Bytes> {
        self.send.ready().await?;
        let answer = self.send.send_request(self.request("GET", path, JSON).body(Full::default())?).await?;
        ensure!(answer.status() == 200, "{path}: {}", answer.status());
        Ok(answer.into_body().collect().await?.to_bytes())
    }
}
