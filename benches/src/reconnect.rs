//! A thousand agents, each with a certificate and connections of its own, whose control plane restarts.

use crate::{Row, cloud::Cloud, large::wait_up, row};
use anyhow::{Context, Result};
use lenticular_agent::{Clock, Config, HttpLink, Joining, SimKnobs, SimNet};
use lenticular_model::Timestamp;
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

const AGENTS: usize = 1_000;

/// Lets the agents join, restarts the control plane, and waits until it has heard from all of them again. Meanwhile it is
/// asked for something all the time.
pub async fn measure() -> Result<Row> {
    let mut cloud = Cloud::start(1).await?;
    let client = cloud.login().await?;
    let scratch = tempfile::tempdir()?;
    let url = format!("https://{}", cloud.agents);
    let net = Arc::new(SimNet::default());
    let mut agents = tokio::task::JoinSet::new();
    let mut connection = client.connect().await?;
    for n in 0..AGENTS {
        let name = format!("agent-{n}");
        let made = connection
            .post("/operator/v1/hosts/enrol", &json!({"name": name, "valid_for_s": 3600}), 201)
            .await?;
        let token = made["token"].as_str().context("no token")?.parse()?;
        let joining = Joining { control_plane: url.clone(), token, host_name: name.clone() };
        let state = scratch.path().join(&name);
        std::fs::create_dir_all(&state)?;
        let identity = lenticular_agent::join(&state, &joining, clock()).await?;
        let link = Arc::new(HttpLink::new(&url, identity)?);
        let (config, net) = (Config::new(name, state), net.clone());
        agents.spawn(async move {
            let never = std::future::pending();
            lenticular_agent::run_sim(config, SimKnobs::default(), net, link, never).await
        });
    }
    wait_up(&client, AGENTS + 1).await?;
    let began = Instant::now();
    cloud.restart().await?;
    let asking = tokio::spawn(ask_until(client.clone(), began));
    wait_heard(&client, AGENTS).await?;
    let took = began.elapsed();
    let cpu_s = cloud.cpu_s()?;
    asking.abort();
    let worst = asking.await.ok().and_then(Result::ok);
    let worst = worst.map_or_else(String::new, |w| format!(", worst answer {:.0} ms", w.as_secs_f64() * 1e3));
    agents.abort_all();
    Ok(row(
        format!("{AGENTS} agents over TLS: restart until all are heard of"),
        format!("{:.1} s, CPU {cpu_s:.1} s{worst}", took.as_secs_f64()),
        "no overload",
    ))
}

/// The longest that an answer took.
async fn ask_until(client: crate::http::Client, began: Instant) -> Result<Duration> {
    let mut worst = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(120) {
        let one = Instant::now();
        client.connect().await?.get("/compute/v2.1/servers?limit=1").await?;
        worst = worst.max(one.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(worst)
}

/// Waits until so many hosts were heard of since the control plane started.
async fn wait_heard(client: &crate::http::Client, hosts: usize) -> Result<()> {
    let mut connection = client.connect().await?;
    loop {
        let metrics = connection.bytes("/metrics").await?;
        let text = String::from_utf8_lossy(&metrics).into_owned();
        let line = text.lines().find_map(|l| l.strip_prefix("lenticular_hosts_heard "));
        if line.and_then(|n| n.trim().parse::<f64>().ok()).is_some_and(|n| n as usize >= hosts) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark is no part of the cloud")]
fn clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    })
}
