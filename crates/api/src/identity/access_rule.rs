//! Access rules. They come into being with application credentials.

use super::{auth::user_id, filter, id};
use crate::{
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::identity::{access_rule, govern::check_owner};
use lenticular_model::policy::Action;
use lenticular_wire::identity as wire;
use serde_json::json;

/// `GET /v3/users/{id}/access_rules`
pub async fn list(ctx: Ctx, Path(user): Path<String>) -> Handled {
    let user = user_id(&user)?;
    check_owner(&ctx.caller, Action::AccessRuleRead, user)?;
    let items = ctx.state.access_rules_of_user(user).map(|rule| wire::access_rule(ctx.url(), rule)).collect();
    let found = filter::chosen(&ctx.query, items, &["service", "path", "method"])?;
    json(200, &wire::listing(ctx.url(), &format!("users/{user}/access_rules"), found))
}

/// `GET /v3/users/{id}/access_rules/{rule}`
pub async fn show(ctx: Ctx, Path((user, text)): Path<(String, String)>) -> Handled {
    let (user, id) = (user_id(&user)?, id("access rule", &text)?);
    let rule = access_rule::visible(&ctx.state, &ctx.caller, user, id)?;
    json(200, &json!({"access_rule": wire::access_rule(ctx.url(), &rule)}))
}

/// `DELETE /v3/users/{id}/access_rules/{rule}`
pub async fn delete(ctx: Ctx, Path((user, text)): Path<(String, String)>) -> Handled {
    let (user, id, proof) = (user_id(&user)?, id("access rule", &text)?, ctx.proof());
    ctx.commit("access rule delete", move |txn, caller| access_rule::delete(txn, caller, proof, user, id))
        .await?;
    empty(204)
}
