//! A host's session: its registration, orders by long poll, reports and answers.

use crate::{
    agent::{enrol::Peer, receipt},
    app::App,
    body::{Answered, Message},
    fault::Handled,
    query::Query,
    respond::{empty, json},
};
use axum::extract::{Path, RawQuery, State};
use lenticular_control::{
    observe::host,
    orders::{self, OrderChanges},
};
use lenticular_model::{
    Cause, HostId, Incarnation, State as Cloud,
    error::{Error, Result},
    host::observation::Observation,
};
use lenticular_wire::agent::{
    Answer, Orders, OrdersQuery, Registration, Report, WAIT_MS_MAX, Welcome, read_registration, v2,
};
use serde_json::Value;
use std::time::Duration;

pub async fn register(peer: Peer, State(app): State<App>, Message(body): Message<Value>) -> Handled {
    let registration = read_registration(&body).map_err(Error::invalid)?;
    peer.may_be(&app, &registration.host_name).await?;
    json(200, &app.agent_register(registration).await?)
}

pub async fn poll(
    peer: Peer,
    State(app): State<App>,
    Path(host): Path<String>,
    RawQuery(query): RawQuery,
) -> Handled {
    let query = Query::parse(query.as_deref());
    let bad = || Error::invalid("orders need session, incarnation and after");
    let query = OrdersQuery {
        session: query.number("session")?.ok_or_else(bad)?,
        incarnation: query.get("incarnation").and_then(|i| i.parse().ok()).ok_or_else(bad)?,
        after: query.number("after")?.ok_or_else(bad)?,
        wait_ms: query.number("wait_ms")?.unwrap_or(0),
        receipt: query.get("receipt").map(str::to_owned),
    };
    let host = host_id(&host)?;
    peer.is(&app, host).await?;
    let orders = app.agent_orders(host, &query).await?;
    match app.store.state().hosts.get(&host).map(|host| host.protocol) {
        Some(v2::VERSION) => json(200, &v2::OrdersV2::from(orders)),
        _ => json(200, &orders),
    }
}

pub async fn observe(
    peer: Peer,
    State(app): State<App>,
    Path(host): Path<String>,
    Message(report): Message<Report>,
) -> Handled {
    let host = host_id(&host)?;
    peer.is(&app, host).await?;
    app.agent_report(host, report).await?;
    empty(204)
}

pub async fn answer(
    peer: Peer,
    State(app): State<App>,
    Path(host): Path<String>,
    Answered(answer): Answered,
) -> Handled {
    let host = host_id(&host)?;
    peer.is(&app, host).await?;
    app.agent_answer(host, answer);
    empty(204)
}

pub(super) fn host_id(text: &str) -> Result<HostId> {
    text.parse().map_err(|_| Error::not_found("Host", text))
}

fn host_name(state: &Cloud, host: HostId) -> &str {
    state.hosts.get(&host).map_or("", |host| host.name.as_str())
}

/// A host's claim: it was told everything up to a commit of an incarnation of the store.
struct Claim<'c> {
    life: Option<Incarnation>,
    upto: u64,
    receipt: Option<&'c str>,
}

/// More than every generation ever issued: after a restore, generations count from the time in seconds.
const GENERATION_MAX: u64 = 1 << 48;

/// Refuses a generation that no store can have issued: counting on from it would overflow.
fn check_generations(seen: &[Observation]) -> Result<()> {
    match seen.iter().find(|seen| seen.generation > GENERATION_MAX) {
        Some(seen) => Err(Error::invalid(format!(
            "The disk of server {} has generation {}, which no control plane has issued.",
            seen.server_id, seen.generation
        ))),
        None => Ok(()),
    }
}

/// How long a heartbeat is fresh, in milliseconds. Until then, another heartbeat is not worth a transaction.
const HEARTBEAT_FRESH_MS: i64 = 5_000;

impl App {
    /// Registers a host and begins a session.
    ///
    /// # Errors
    /// No host can have these facts, or the store takes no commits.
    pub async fn agent_register(&self, registration: Registration) -> Result<Welcome> {
        let Registration {
            version,
            host_name,
            zone,
            facts,
            evidence,
            incarnation,
            applied_upto,
            receipt,
            inventory,
        } = registration;
        let claim = Claim { life: incarnation, upto: applied_upto, receipt: receipt.as_deref() };
        self.check_present(&host_name, &claim).await?;
        let cause = Cause {
            actor: format!("host/{host_name}"),
            request_id: String::new(),
            why: "host registration".to_owned(),
        };
        let life = incarnation;
        let registration =
            host::Registration { name: host_name, protocol: version, zone, facts, evidence, life };
        check_generations(&inventory)?;
        let heartbeat =
            self.store.transact(cause, move |txn| host::register(txn, registration, &inventory)).await?;
        let incarnation = self.store.state().incarnation;
        Ok(Welcome { host_id: heartbeat.id, incarnation, session: heartbeat.session })
    }

    /// Returns the changes for a host, and waits for them as long as the query asks.
    ///
    /// # Errors
    /// The host or its session is not known: the host must register again.
    pub async fn agent_orders(&self, host: HostId, query: &OrdersQuery) -> Result<Orders> {
        let link = self.links.of(host);
        let deadline = tokio::time::Instant::now() + Duration::from_millis(query.wait_ms.min(WAIT_MS_MAX));
        loop {
            // Subscribes before the check, so that no change is missed.
            let news = link.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let state = self.store.state();
            let claim =
                Claim { life: Some(query.incarnation), upto: query.after, receipt: query.receipt.as_deref() };
            self.check_present(host_name(&state, host), &claim).await?;
            self.heartbeat(&state, host, query.session).await?;
            let changes = orders::changes(&state, host, query.incarnation, query.after);
            let questions = link.questions();
            let nothing = changes.is_empty(query.after) && questions.is_empty();
            if !nothing || tokio::time::Instant::now() >= deadline {
                let receipt = Some(receipt::seal(&self.tokens, host, state.incarnation, state.seq));
                let OrderChanges { after, servers, host } = changes;
                let (incarnation, upto) = (state.incarnation, state.seq);
                let at = Some(self.now());
                return Ok(Orders { incarnation, after, upto, receipt, servers, host, at, questions });
            }
            tokio::select! {
                () = &mut news => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    /// Judges the commit that a host names as its present. The store may not have reached that commit although
    /// the host has a receipt for it. Then an operator restored a backup without saying so, and no host gets
    /// orders, because they would be outdated. Without a receipt, only the host is wrong, and only this host gets
    /// no orders.
    ///
    /// # Errors
    /// Orders are held; the message names the host or the cloud, and says what to do.
    async fn check_present(&self, name: &str, claim: &Claim<'_>) -> Result<()> {
        let state = self.store.state();
        if claim.life == Some(state.incarnation) && claim.upto > state.seq {
            if !self.proves(&state, name, claim) {
                return Err(self.hold_host(name, claim.upto, state.seq).await);
            }
            let why = format!(
                "The store is older than what host {name} was told (commit {} of {}): a backup was put in its place. \
                 Hosts get no orders. Stop the control plane, run `lenticular store restored`, and start it again.",
                state.seq, claim.upto
            );
            if self.held.set(why.clone()).is_ok() {
                tracing::error!("{why}");
            }
        }
        match self.held.get() {
            Some(why) => Err(Error::unavailable(why.clone())),
            None => Ok(()),
        }
    }

    fn proves(&self, state: &Cloud, name: &str, claim: &Claim<'_>) -> bool {
        let host = state.host_named(name).map(|host| &host.id);
        host.zip(claim.receipt).is_some_and(|(host, receipt)| {
            receipt::proves(&self.tokens, receipt, *host, state.incarnation, claim.upto)
        })
    }

    async fn hold_host(&self, name: &str, upto: u64, seq: u64) -> Error {
        let why = format!(
            "Host {name} says that it was told of commit {upto}, has no receipt for it, and the store is at {seq}. Only \
             this host gets no orders; the others go on. If a backup was put in the store's place, run `lenticular \
             store restored`. Else the host's state is wrong: stop its agent, move agent.json out of its state \
             directory, and start it again; its guests run on."
        );
        let error = Error::unavailable(why).coded("HostAhead");
        self.refuse(format!("host/{name}"), String::new(), error).await
    }

    /// Records that a host made contact, if the record is due.
    async fn heartbeat(&self, state: &Cloud, host: HostId, session: u64) -> Result<()> {
        let heartbeat = host::in_session(state, host, session)?;
        if self.now().since_ms(heartbeat.at) < HEARTBEAT_FRESH_MS {
            return Ok(());
        }
        let cause =
            Cause { actor: format!("host/{host}"), request_id: String::new(), why: "heartbeat".to_owned() };
        self.store.transact(cause, move |txn| host::heartbeat(txn, host, session)).await
    }

    /// Takes in a host's report: guests, facts, evidence and progress. It is durable when the call returns. A report older than the last one
    /// changes nothing.
    ///
    /// # Errors
    /// The host or its session is not known, or its orders came from another incarnation of the store.
    pub async fn agent_report(&self, host: HostId, report: Report) -> Result<()> {
        let state = self.store.state();
        let known = state.hosts.get(&host).ok_or_else(|| Error::not_found("Host", host))?;
        if report.incarnation != state.incarnation {
            return Err(Error::not_found_text("The store was restored since; register the host again."));
        }
        check_generations(&report.guests)?;
        let actor = format!("host/{}", known.name);
        let cause = Cause { actor, request_id: String::new(), why: "host report".to_owned() };
        let Report { session, number, guests, host: facts, evidence, progress, .. } = report;
        let report = host::Report { session, number, guests, facts, evidence, progress };
        self.store.transact(cause, move |txn| host::report(txn, host, report)).await
    }

    /// Takes in a host's answer to a question.
    pub fn agent_answer(&self, host: HostId, answer: Answer) {
        self.links.of(host).answer(answer.id, answer.result);
    }
}
