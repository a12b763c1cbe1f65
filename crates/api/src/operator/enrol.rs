//! Enrolment of hosts, and their retirement.

use crate::{body::Message, ctx::Ctx, fault::Handled, respond::json};
use axum::extract::Path;
use lenticular_control::command::host::enrolment;
use lenticular_model::Cause;
use lenticular_wire::operator::{EnrolAsk, EnrolToken, RetireAsk, RetiredView};

/// `POST /operator/v1/hosts/enrol`
pub async fn enrol(ctx: Ctx, Message(ask): Message<EnrolAsk>) -> Handled {
    let caller = ctx.caller.clone();
    let why = match &ask.name {
        Some(name) => format!("make a join token for {name}"),
        None => "make a join token".to_owned(),
    };
    let cause = Cause { actor: caller.user_id.to_string(), request_id: caller.request_id.clone(), why };
    let made =
        ctx.app.join_token(cause, Some(caller), ask.name.clone(), ask.replace, ask.valid_for_s).await?;
    let view = EnrolToken {
        token: made.0.to_string(),
        expires_at: made.1.iso(),
        join: ctx.app.config.agent_url.clone(),
        name: ask.name,
    };
    json(201, &view)
}

/// `POST /operator/v1/hosts/{host}/retire`
pub async fn retire(ctx: Ctx, Path(name): Path<String>, Message(ask): Message<RetireAsk>) -> Handled {
    let of = name.clone();
    let why = format!("retire host {}{}", name, if ask.force { " by force" } else { "" });
    let retired = ctx.commit(&why, move |txn, caller| enrolment::retire(txn, caller, &of, ask.force)).await?;
    json(200, &RetiredView { name, lost: retired.lost.iter().map(ToString::to_string).collect() })
}
