//! Explains a server's placement: the recorded decision, and the scheduler's decision now.

use crate::{ctx::Ctx, fault::Handled, operator::find, respond::json};
use axum::extract::Path;
use lenticular_control::schedule::{self, Moves, Planned, RequestSpec, Verdict};
use lenticular_model::{Kind, compute::server::Server, error::Error};
use lenticular_wire::operator::{Explanation, HostWord, Refusal, WeigherView};

/// The default number of hosts with the result of every filter.
const EXPLAINED_HOSTS: u64 = 20;

/// `GET /operator/v1/servers/{server}/explain`
pub async fn explain(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let server = find(&ctx, &text)?;
    let doc = ctx.app.store.get(Kind::Verdict, &server.id.to_string()).await?;
    let doc = doc.ok_or_else(|| {
        Error::not_found_text("The scheduler's decision about this server is not recorded.")
    })?;
    let verdict: Verdict = serde_json::from_str(&doc).map_err(Error::internal)?;
    // On its own host, the server already has its resources.
    let moves = server.host_id.map(|from| Moves {
        from,
        live: false,
        may_stay: true,
        has: server.size,
        planned: Planned::default(),
    });
    let words =
        schedule::explain(&ctx.state, &RequestSpec { moves, ..RequestSpec::of_server(&ctx.state, &server) });
    let most = ctx.query.number("hosts")?.unwrap_or(EXPLAINED_HOSTS) as usize;
    json(200, &view(&server, verdict, words, ctx.query.get("host"), most))
}

/// The recorded decision, and the current result for every host: for one host alone, or for a limited number.
fn view(
    server: &Server,
    verdict: Verdict,
    words: Vec<schedule::HostWord>,
    only: Option<&str>,
    most: usize,
) -> Explanation {
    let counts = verdict.counts().into_iter().map(|(filter, n)| (filter.to_owned(), n)).collect();
    let refused = verdict.refused.into_iter();
    let now_count = words.len();
    let now_passed = words.iter().filter(|word| word.weight.is_some()).count();
    let now = words.into_iter().filter(|word| only.is_none_or(|name| word.name == name)).take(most);
    Explanation {
        id: server.id.to_string(),
        name: server.name.clone(),
        chosen: verdict.chosen,
        accepted: verdict.accepted,
        accepted_count: verdict.accepted_count,
        refused: refused.map(|r| Refusal { filter: r.filter, reason: r.reason, hosts: r.hosts }).collect(),
        counts,
        now: now.map(word_view).collect(),
        now_count,
        now_passed,
    }
}

fn word_view(word: schedule::HostWord) -> HostWord {
    let words = word.words.into_iter().map(|w| (w.filter.to_owned(), w.refusal)).collect();
    let weighers = word.weighers.into_iter().map(|w| WeigherView {
        name: w.name.to_owned(),
        measured: w.measured,
        unit: w.unit.to_owned(),
        adds: w.adds,
    });
    HostWord { host: word.name, weight: word.weight, weighers: weighers.collect(), words }
}
