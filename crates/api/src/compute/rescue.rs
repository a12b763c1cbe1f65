//! The arguments and the answer of the action `rescue`.

use super::{argument::arguments, server::random_password};
use crate::{ctx::Ctx, fault::Handled, respond::json};
use lenticular_control::command::compute::rescue;
use lenticular_model::{ImageId, ServerId, error::Error};
use lenticular_wire::request;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rescue {
    #[serde(rename = "adminPass", default)]
    password: Option<String>,
    #[serde(default)]
    rescue_image_ref: Option<String>,
}

/// `POST /servers/{id}/action` with `rescue`. As at a creation, the answer shows a password that the guest does not get.
pub async fn rescue(ctx: &Ctx, id: ServerId, args: Value) -> Handled {
    let asked: Rescue = request::read(arguments("rescue", args)?)?;
    let image = asked.rescue_image_ref.map(|text| {
        // Old clients send the image's URL.
        let id = text.rsplit('/').next().unwrap_or_default();
        id.parse::<ImageId>().map_err(|_| {
            Error::invalid("Invalid input for field/attribute rescue_image_ref. It must be an image's id.")
        })
    });
    let image = image.transpose()?;
    let password = match asked.password {
        Some(password) => password,
        None => random_password()?,
    };
    ctx.commit("server rescue", move |txn, caller| rescue::rescue(txn, caller, id, image)).await?;
    json(200, &json!({ "adminPass": password }))
}
