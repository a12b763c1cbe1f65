//! Glance.

pub mod data;
mod image_member;
mod list;
pub mod record;

use crate::{
    app::App,
    fault::Handled,
    respond::json,
    routes::{Routes, get, post, put},
};
use axum::extract::State;
use lenticular_model::{
    ImageId,
    error::Error,
    image::Usage,
    policy::{self, Action},
};
use lenticular_wire::image as wire;
use serde_json::json;

/// The routes.
pub fn routes() -> Routes<App> {
    let v2 = Routes::new()
        .route("/images", get(list::list).post(record::create))
        .route("/images/{id}", get(record::show).patch(record::update).delete(record::delete))
        .route("/images/{id}/tasks", get(record::tasks))
        .route("/images/{id}/file", put(data::upload).get(data::download))
        .route("/images/{id}/tags/{tag}", put(record::add_tag).delete(record::remove_tag))
        .route("/images/{id}/actions/deactivate", post(record::deactivate))
        .route("/images/{id}/actions/reactivate", post(record::reactivate))
        .route("/images/{id}/members", get(image_member::list).post(image_member::create))
        .route(
            "/images/{id}/members/{member}",
            get(image_member::show).put(image_member::update).delete(image_member::delete),
        )
        .route("/schemas/member", get(schema_of_member))
        .route("/schemas/members", get(schema_of_members))
        .route("/schemas/image", get(schema))
        .route("/schemas/images", get(schema_of_list))
        .route("/info/import", get(import))
        .route("/info/stores", get(stores))
        .route("/info/usage", get(usage));
    Routes::new()
        .route("/image", get(versions))
        .route("/image/", get(versions))
        .route("/image/versions", get(versions_ok))
        .nest("/image/v2", v2.route("/", get(versions_ok)))
        .route("/image/v2/", get(versions_ok))
}

async fn versions(State(app): State<App>) -> Handled {
    json(300, &wire::versions(&app.config.public_url))
}

async fn versions_ok(State(app): State<App>) -> Handled {
    json(200, &wire::versions(&app.config.public_url))
}

async fn schema(_: crate::ctx::Ctx) -> Handled {
    json(200, &wire::schema())
}

async fn schema_of_list(_: crate::ctx::Ctx) -> Handled {
    json(200, &wire::schema_of_list())
}

async fn schema_of_member(_: crate::ctx::Ctx) -> Handled {
    json(200, &wire::member_schema())
}

async fn schema_of_members(_: crate::ctx::Ctx) -> Handled {
    json(200, &wire::member_schema_of_list())
}

/// The import methods: none, because images can only be uploaded.
async fn import(_: crate::ctx::Ctx) -> Handled {
    json(
        200,
        &json!({"import-methods": {"description": "Import methods available.", "type": "array", "value": []}}),
    )
}

async fn stores(_: crate::ctx::Ctx) -> Handled {
    json(200, &json!({"stores": [{"id": "file", "default": "true"}]}))
}

/// `GET /v2/info/usage`: the usage of the caller's project, against its limits; -1 is no limit.
async fn usage(ctx: crate::ctx::Ctx) -> Handled {
    policy::check(&ctx.caller, Action::ImageRead, None)?;
    let (usage, quota) =
        (Usage::of(&ctx.state, ctx.caller.need_project()?), ctx.app.config.settings.images.quota());
    let line = |limit: Option<u64>, usage: u64| json!({"limit": limit.map_or(json!(-1), |l| json!(l)), "usage": usage});
    json(
        200,
        &json!({"usage": {
            "image_size_total": line(quota.size_mib, usage.size >> 20),
            // Images are uploaded, never staged.
            "image_stage_total": line(quota.stage_mib, 0),
            "image_count_total": line(quota.count, usage.count),
            "image_count_uploading": line(quota.uploading, usage.uploading),
        }}),
    )
}

fn image_id(text: &str) -> Result<ImageId, Error> {
    text.parse().map_err(|_| Error::not_found_text(format!("No image found with ID {text}")))
}
