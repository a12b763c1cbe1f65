//! Upload and download of an image's bytes. Memory never holds a whole image.

use super::image_id;
use crate::{agent::enrol::Peer, app::App, ctx::Ctx, fault::Handled, respond::empty};
use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, header},
    response::Response,
};
use bytes::Bytes;
use lenticular_control::orders::needs_image;
use lenticular_control::{command::image, lifecycle};
use lenticular_model::{
    Cause, ImageId, Txn,
    error::{Error, Kind, Result},
    image::{Data, Image, Phase},
    policy::{self, Action, Caller},
};
use lenticular_store::Leadership;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// `PUT /v2/images/{id}/file`
pub async fn upload(ctx: Ctx, Path(id): Path<String>, request: Request) -> Handled {
    let id = image_id(&id)?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if !kind.is_empty() && kind != "application/octet-stream" {
        return Err(Error::unsupported_media(format!(
            "Unsupported Content-Type: {kind}. Send application/octet-stream."
        ))
        .into());
    }
    let upload = upload_id()?;
    let (name, quota) = (upload.clone(), ctx.app.config.settings.images.quota());
    let begin = move |txn: &mut Txn<'_>, caller: &Caller| {
        let image = image::begin_upload(txn, caller, id, name, &quota)?;
        let room = lifecycle::image::room(txn, &image, &quota)?;
        Ok((image, room))
    };
    let (image, room) = ctx.commit("image upload begin", begin).await?;
    // The rest runs even if the client goes away, so that the image never stays in `saving`.
    let app = ctx.app.clone();
    let cause = Cause {
        actor: ctx.caller.user_id.to_string(),
        request_id: ctx.journal_id(),
        why: "image upload end".to_owned(),
    };
    let task = tokio::spawn(async move { finish(&app, cause, &image, room, upload, request).await });
    task.await.map_err(Error::internal)??;
    empty(204)
}

/// A unique name for an upload.
///
/// # Errors
/// The system gives no randomness.
pub fn upload_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    Ok(format!("upload-{}", uuid::Builder::from_random_bytes(bytes).into_uuid()))
}

/// Receives the bytes, and makes them the image's data if the upload is still current. In every case the image
/// leaves `saving`.
async fn finish(
    app: &App,
    cause: Cause,
    image: &Image,
    room: Option<u64>,
    upload: String,
    request: Request,
) -> Result<()> {
    let (id, quota) = (image.id, app.config.settings.images.quota());
    let format = image.disk_format.clone().unwrap_or_default();
    let stream = request.into_body().into_data_stream();
    let saved = match app.images.receive(&upload, &format, room, stream).await {
        Ok(data) => {
            let name = upload.clone();
            let commit =
                move |txn: &mut Txn<'_>| lifecycle::image::commit_upload(txn, id, &name, data, &quota);
            app.store.transact(cause.clone(), commit).await
        }
        Err(error) => Err(error),
    };
    if saved.is_err() && !abort(app, &cause, id, &upload).await {
        tokio::spawn(keep_aborting(app.clone(), cause, id, upload));
    }
    saved
}

/// Aborts an upload. True once the abort is durable, or if there is nothing to abort.
async fn abort(app: &App, cause: &Cause, id: ImageId, upload: &str) -> bool {
    // After a commit of unknown outcome, the image may have the bytes. The next leadership tells.
    if !matches!(*app.store.leadership().borrow(), Leadership::Leads(_)) {
        return false;
    }
    let named = app.store.state().images.get(&id).and_then(|image| image.file());
    if named.as_deref() != Some(upload) {
        app.images.discard(upload);
    }
    let name = upload.to_owned();
    let aborted =
        app.store.transact(cause.clone(), move |txn| lifecycle::image::abort_upload(txn, id, &name)).await;
    let Err(error) = aborted else { return true };
    let again = error.kind == Kind::Unavailable;
    if again {
        tracing::warn!(image = %id, %error, "an upload that failed could not be given up yet");
    }
    !again
}

/// Aborts an upload, and retries: the store may have no room, or no database, just now.
async fn keep_aborting(app: App, cause: Cause, id: ImageId, upload: String) {
    let mut wait = ABORT_AGAIN_AFTER;
    loop {
        tokio::time::sleep(wait).await;
        if abort(&app, &cause, id, &upload).await {
            return;
        }
        wait = (wait * 2).min(ABORT_AGAIN_AFTER_MAX);
    }
}

/// The first and the longest wait between two attempts to abort an upload.
const ABORT_AGAIN_AFTER: Duration = Duration::from_millis(500);
const ABORT_AGAIN_AFTER_MAX: Duration = Duration::from_secs(30);

/// `GET /v2/images/{id}/file`
pub async fn download(ctx: Ctx, Path(id): Path<String>, headers: HeaderMap) -> Handled {
    let image = ctx.state.visible::<Image>(&ctx.caller, &image_id(&id)?)?;
    policy::check(&ctx.caller, Action::ImageRead, None)?;
    if matches!(image.phase, Phase::Deactivated { .. }) && !ctx.caller.is_admin() {
        return Err(Error::forbidden(
            "The requested image has been deactivated. Image data download is forbidden.",
        )
        .into());
    }
    let Some(data) = image.data() else { return empty(204) };
    stream(&ctx.app, &image, data, headers.get(header::RANGE).and_then(|r| r.to_str().ok())).await
}

/// `GET /agent/v1/images/{id}/data`
pub async fn for_agent(peer: Peer, State(app): State<App>, Path(id): Path<String>) -> Handled {
    let state = app.store.state();
    let id = image_id(&id)?;
    // The image may be private: only a host with a server of the image may read it, or one that was told to fetch it.
    let host = state.host_named(&peer.name).map(|host| host.id);
    let needed =
        host.is_some_and(|host| needs_image(&state, host, id) || app.links.may_fetch(host, id, app.now()));
    let image = state.images.get(&id).filter(|_| needed).ok_or_else(|| Error::not_found("Image", id))?;
    let data = image.data().ok_or_else(|| Error::not_found("Data of image", id))?;
    stream(&app, image, data, None).await
}

/// How much of a download is in memory at once, in bytes.
const DOWNLOAD_CHUNK_BYTES: u64 = 64 * 1024;

async fn stream(app: &App, image: &Image, data: &Data, range: Option<&str>) -> Handled {
    let path = app.images.path(&image.file().unwrap_or_default());
    let mut file = tokio::fs::File::open(&path).await.map_err(|error| {
        let mut lost = Error::unavailable(
            "The image's data cannot be read. Ask the operator to look at the image store.",
        );
        lost.internal = Some(format!("{}: {error}", path.display()));
        lost
    })?;
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header("content-md5", &data.checksum)
        .header(header::ACCEPT_RANGES, "bytes");
    let (mut start, mut length) = (0, data.size);
    if range.is_some_and(|r| r.starts_with("bytes=") && parse_range(r, data.size).is_none()) {
        let refused =
            Response::builder().status(416).header(header::CONTENT_RANGE, format!("bytes */{}", data.size));
        return Ok(refused.body(Body::empty()).map_err(Error::internal)?);
    }
    if let Some((from, to)) = range.and_then(|r| parse_range(r, data.size)) {
        (start, length) = (from, to - from + 1);
        response =
            response.status(206).header(header::CONTENT_RANGE, format!("bytes {from}-{to}/{}", data.size));
    }
    file.seek(std::io::SeekFrom::Start(start)).await.map_err(Error::internal)?;
    let chunks = futures_util::stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok::<_, std::io::Error>(None);
        }
        let mut buffer = vec![0; left.min(DOWNLOAD_CHUNK_BYTES) as usize];
        let read = file.read(&mut buffer).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buffer.truncate(read);
        Ok(Some((Bytes::from(buffer), (file, left - read as u64))))
    });
    response = response.header(header::CONTENT_LENGTH, length);
    Ok(response.body(Body::from_stream(chunks)).map_err(Error::internal)?)
}

/// One range of bytes, both ends included. Other ranges are ignored, and the answer is the whole image.
fn parse_range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let last = size.checked_sub(1)?;
    let (from, to) = match (from, to) {
        ("", "0") => return None,
        ("", count) => (size.saturating_sub(count.parse().ok()?), last),
        (from, "") => (from.parse().ok()?, last),
        (from, to) => (from.parse().ok()?, to.parse::<u64>().ok()?.min(last)),
    };
    (from <= to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::parse_range;

    #[test]
    fn ranges_stay_inside_the_image() {
        assert_eq!(parse_range("bytes=0-9", 100), Some((0, 9)));
        assert_eq!(parse_range("bytes=90-", 100), Some((90, 99)));
        assert_eq!(parse_range("bytes=-10", 100), Some((90, 99)));
        assert_eq!(parse_range("bytes=0-1000", 100), Some((0, 99)));
        assert_eq!(parse_range("bytes=100-", 100), None);
        assert_eq!(parse_range("bytes=5-2", 100), None);
        assert_eq!(parse_range("bytes=0-", 0), None);
        assert_eq!(parse_range("lines=1-2", 100), None);
    }
}
