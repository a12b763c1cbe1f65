//! A logged-in client of the operators' API.

use crate::cloud::Login;
use anyhow::{Context, Result, anyhow};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::time::Duration;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client with a token.
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token: String,
}

impl Client {
    /// Logs in.
    ///
    /// # Errors
    /// The cloud cannot be reached, or refuses the password.
    pub fn login(login: &Login) -> Result<Self> {
        let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
        let agent: ureq::Agent = config.build().into();
        let url = login.auth_url.trim_end_matches('/');
        let url = if url.ends_with("/v3") { url.to_owned() } else { format!("{url}/v3") };
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": login.username, "domain": {"name": login.user_domain_name}, "password": login.password}}},
            "scope": {"project": {"name": login.project_name, "domain": {"name": login.project_domain_name}}},
        }});
        let mut answer = agent
            .post(format!("{url}/auth/tokens?nocatalog"))
            .send_json(&body)
            .with_context(|| format!("the cloud at {url} does not answer; is it up?"))?;
        if answer.status() != 201 {
            return Err(refusal(&mut answer, "the login was refused"));
        }
        let token = answer.headers().get("x-subject-token").and_then(|v| v.to_str().ok());
        let token = token.ok_or_else(|| anyhow!("the cloud at {url} gave no token"))?.to_owned();
        let base = url.strip_suffix("/identity/v3").unwrap_or(&url).to_owned();
        Ok(Self { agent, base, token })
    }

    /// Gets a path, and reads the answer.
    ///
    /// # Errors
    /// The cloud cannot be reached, or refuses.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let url = format!("{}{path}", self.base);
        let call = self.agent.get(&url).header("x-auth-token", &self.token).call();
        let mut answer = call.with_context(|| format!("{url} does not answer"))?;
        if answer.status() != 200 {
            return Err(refusal(&mut answer, "the cloud refused"));
        }
        answer.body_mut().read_json().with_context(|| format!("the answer of {url} cannot be read"))
    }

    /// Deletes a path.
    ///
    /// # Errors
    /// The cloud cannot be reached, or refuses.
    pub fn delete(&self, path: &str) -> Result<()> {
        let url = format!("{}{path}", self.base);
        let call = self.agent.delete(&url).header("x-auth-token", &self.token).call();
        let mut answer = call.with_context(|| format!("{url} does not answer"))?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(refusal(&mut answer, "the cloud refused")),
        }
    }

    /// Posts a body, and reads the answer.
    ///
    /// # Errors
    /// The cloud cannot be reached, or refuses.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let url = format!("{}{path}", self.base);
        let call = self.agent.post(&url).header("x-auth-token", &self.token).send_json(body);
        let mut answer = call.with_context(|| format!("{url} does not answer"))?;
        if !answer.status().is_success() {
            return Err(refusal(&mut answer, "the cloud refused"));
        }
        answer.body_mut().read_json().with_context(|| format!("the answer of {url} cannot be read"))
    }
}

fn refusal(answer: &mut ureq::http::Response<ureq::Body>, what: &str) -> anyhow::Error {
    let status = answer.status();
    let body: Option<Value> = answer.body_mut().read_json().ok();
    let message = body.as_ref().and_then(|b| b["error"]["message"].as_str()).unwrap_or("no reason given");
    anyhow!("{what} ({status}): {message}")
}

/// Escapes a text for a URL's path.
pub fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
