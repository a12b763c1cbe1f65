//! The counters, for Prometheus.

use crate::{
    app::App,
    ctx::Ctx,
    fault::{Fault, Handled},
};
use axum::{extract::State, http::header, response::IntoResponse};
use lenticular_model::policy::{self, Action};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::{
    sync::atomic::{AtomicI64, AtomicU64},
    time::Duration,
};

/// The labels of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    service: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The counters that requests write.
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    logins: Family<ResultLabel, Counter>,
    seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
        Self { requests: Family::default(), logins: Family::default(), seconds: Histogram::new(buckets) }
    }
}

impl Metrics {
    /// Counts the result of a log-in by password.
    pub fn login(&self, result: &'static str) {
        self.logins.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts an answer.
    pub fn answered(&self, path: &str, method: &axum::http::Method, status: u16, took: Duration) {
        let service = match path.split('/').nth(1) {
            Some("identity") => "identity",
            Some("compute") => "compute",
            Some("image") => "image",
            Some("network") => "network",
            Some("placement") => "placement",
            Some("agent") => "agent",
            _ => "own",
        };
        let method = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            _ => "other",
        };
        self.requests.get_or_create(&RequestLabels { service, method, status }).inc();
        // A poll waits on purpose: its duration does not show how fast the cloud answers.
        if service != "agent" {
            self.seconds.observe(took.as_secs_f64());
        }
    }
}

/// `GET /metrics`: open to everyone who can connect, unless the settings ask for an operator's token.
pub async fn show(State(app): State<App>, ctx: Result<Ctx, Fault>) -> Handled {
    if app.config.settings.metrics.require_token {
        policy::check(&ctx?.caller, Action::OperatorRead, None)?;
    }
    let mut registry = Registry::with_prefix("lenticular");
    registry.register("http_requests", "Requests answered", app.metrics.requests.clone());
    registry.register("logins", "Log-ins by password, by how they ended", app.metrics.logins.clone());
    registry.register(
        "http_request_seconds",
        "Time to answer, without agents' polls",
        app.metrics.seconds.clone(),
    );
    let state = app.store.state();
    let records = Family::<KindLabel, Gauge>::default();
    for (kind, count) in state.counts() {
        records.get_or_create(&KindLabel { kind: kind.name() }).set(count as i64);
    }
    registry.register("records", "Records in memory, by kind", records);
    let servers = Family::<StatusLabel, Gauge>::default();
    for server in state.servers.values() {
        servers.get_or_create(&StatusLabel { status: server.status() }).inc();
    }
    registry.register("servers", "Servers, by status", servers);
    let hosts = Family::<StatusLabel, Gauge>::default();
    for host in state.hosts.values() {
        let status = if host.is_up() { "up" } else { "silent" };
        hosts.get_or_create(&StatusLabel { status }).inc();
    }
    registry.register("hosts", "Hosts, by whether they are heard of", hosts);
    let heard: Gauge<i64, AtomicI64> = Gauge::default();
    heard.set(state.heartbeats.len() as i64);
    registry.register("hosts_heard", "Hosts heard of since this control plane started", heard);
    let seq: Gauge<i64, AtomicI64> = Gauge::default();
    seq.set(state.seq as i64);
    registry.register("commit_seq", "The last commit", seq);
    let stats = app.store.stats();
    let transactions: Counter<u64, AtomicU64> = Counter::default();
    transactions.inc_by(stats.transactions);
    registry.register("store_transactions", "Transactions run", transactions);
    let commits: Counter<u64, AtomicU64> = Counter::default();
    commits.inc_by(stats.commits);
    registry.register("store_commits", "Groups of transactions made durable", commits);
    let reopenings: Counter<u64, AtomicU64> = Counter::default();
    reopenings.inc_by(stats.reopenings);
    let help = "Times the store was opened again after a commit of unknown outcome";
    registry.register("store_reopenings", help, reopenings);
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = encode(&mut text, &registry);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
