//! Images of servers: the actions `createImage` and `createBackup`.

use super::argument::arguments;
use crate::{
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::http::{HeaderValue, header::LOCATION};
use lenticular_control::command::compute::snapshot::{self, NewSnapshot};
use lenticular_model::{
    ServerId,
    compute::snapshot::Rotation,
    error::{Error, Result},
};
use lenticular_wire::request;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// `POST /servers/{id}/action` with `createImage` or `createBackup`. The answer names the image: in the header `Location`,
/// and from 2.45 in the body alone.
pub async fn create(ctx: &Ctx, id: ServerId, action: &str, args: Value) -> Handled {
    let fields = arguments(action, args)?;
    let new = match action {
        "createBackup" => backup(fields)?,
        _ => image(fields)?,
    };
    let quota = ctx.app.config.settings.images.quota();
    let made =
        ctx.commit("server image", move |txn, caller| snapshot::create(txn, caller, id, new, &quota)).await?;
    let Some(image) = made else { return empty(202) };
    if ctx.version.has(45) {
        return json(202, &json!({ "image_id": image }));
    }
    let mut answer = empty(202)?;
    let url = format!("{}/image/v2/images/{image}", ctx.app.config.public_url);
    let url = HeaderValue::from_str(&url).map_err(|_| Error::internal("the image has no URL"))?;
    answer.headers_mut().insert(LOCATION, url);
    Ok(answer)
}

fn image(fields: Map<String, Value>) -> Result<NewSnapshot> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Image {
        name: String,
        #[serde(default)]
        metadata: BTreeMap<String, String>,
    }
    let asked: Image = request::read(fields)?;
    request::check_name("name", &asked.name)?;
    check_metadata(&asked.metadata)?;
    Ok(NewSnapshot { name: asked.name, metadata: asked.metadata, rotation: None })
}

fn backup(fields: Map<String, Value>) -> Result<NewSnapshot> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Backup {
        name: String,
        backup_type: String,
        rotation: Value,
        #[serde(default)]
        metadata: BTreeMap<String, String>,
    }
    let asked: Backup = request::read(fields)?;
    request::check_name("name", &asked.name)?;
    request::check_text("backup_type", &asked.backup_type, 255)?;
    check_metadata(&asked.metadata)?;
    // Nova takes a number and a text of one.
    let keep = asked.rotation.as_u64().or_else(|| asked.rotation.as_str()?.parse().ok());
    let keep = keep.and_then(|keep| u32::try_from(keep).ok()).ok_or_else(|| {
        Error::invalid("Invalid input for field/attribute rotation. It must be a number, 0 or more.")
    })?;
    let rotation = Some(Rotation { backup_type: asked.backup_type, keep });
    Ok(NewSnapshot { name: asked.name, metadata: asked.metadata, rotation })
}

fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in metadata {
        request::check_text("metadata", name, 255)?;
        request::check_text("metadata", value, 255)?;
        if name.is_empty() {
            return Err(Error::invalid("Invalid input for field/attribute metadata. A name is empty."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(fields) = value else { panic!("an object") };
        fields
    }

    #[test]
    fn arguments_are_read_as_nova_reads_them() {
        let read = image(object(json!({"name": "a", "metadata": {"k": "v"}}))).unwrap();
        assert_eq!((read.name.as_str(), read.metadata["k"].as_str(), read.rotation), ("a", "v", None));
        for bad in [
            json!({}),
            json!({"name": ""}),
            json!({"name": "a", "metadata": {"k": 1}}),
            json!({"name": "a", "x": 1}),
        ] {
            assert!(image(object(bad.clone())).is_err(), "{bad}");
        }
        for rotation in [json!(2), json!("2")] {
            let read =
                backup(object(json!({"name": "a", "backup_type": "daily", "rotation": rotation}))).unwrap();
            assert_eq!(read.rotation, Some(Rotation { backup_type: "daily".to_owned(), keep: 2 }));
        }
        for rotation in [json!(-1), json!("x"), json!(null)] {
            assert!(
                backup(object(json!({"name": "a", "backup_type": "daily", "rotation": rotation}))).is_err()
            );
        }
    }
}
