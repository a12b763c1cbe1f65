//! Sending and fetching an image's bytes, never a whole image in memory.

use super::image_id;
use crate::{
    app::{empty, App},
    ctx::Ctx,
    enrol::Peer,
    fault::Handled,
};
use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{header, HeaderMap},
    response::Response,
};
use bytes::Bytes;
use lenticular_control::command::image;
use lenticular_model::{
    error::{Error, Result},
    image::{Data, Image, Phase},
    policy::{self, Action},
    Cause, ImageId,
};
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
    let name = upload.clone();
    let image = ctx
        .commit("image upload begin", move |txn, caller| image::begin_upload(txn, caller, id, name))
        .await?;
    // The rest goes on even if the client goes away, so that the image never stays in `saving`.
    let app = ctx.app.clone();
    let cause = Cause {
        actor: ctx.caller.user_id.to_string(),
        request_id: ctx.caller.request_id.clone(),
        why: "image upload end".to_owned(),
    };
    let task = tokio::spawn(async move { finish(&app, cause, &image, id, upload, request).await });
    task.await.map_err(Error::internal)??;
    empty(204)
}

/// A name that no other upload has.
///
/// # Errors
/// The system has no randomness to give.
pub fn upload_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    Ok(format!("upload-{}", uuid::Builder::from_random_bytes(bytes).into_uuid()))
}

async fn finish(
    app: &App,
    cause: Cause,
    image: &Image,
    id: ImageId,
    upload: String,
    request: Request,
) -> Result<()> {
    let format = image.disk_format.clone().unwrap_or_default();
    let stream = request.into_body().into_data_stream();
    let placed = match app.images.receive(&upload, &format, stream).await {
        // The bytes are in place before the image says so: a crash between leaves a file that the next start sweeps.
        Ok(arrived) => app.images.place(&upload, id).map(|()| arrived.data),
        Err(error) => Err(error),
    };
    let name = upload.clone();
    match placed {
        Ok(data) => {
            let committed = commit(app, cause, id, name, data).await;
            if committed.is_err() {
                let gone = app.store.state().images.get(&id).is_none_or(|i| i.data().is_none());
                if gone {
                    app.images.remove(id);
                }
            }
            committed
        }
        Err(error) => {
            let back = app.store.transact(cause, move |txn| image::abort_upload(txn, id, &name)).await;
            if let Err(second) = back {
                tracing::warn!(image = %id, %second, "an upload that failed could not be given up");
            }
            Err(error)
        }
    }
}

async fn commit(app: &App, cause: Cause, id: ImageId, upload: String, data: Data) -> Result<()> {
    app.store.transact(cause, move |txn| image::commit_upload(txn, id, &upload, data)).await
}

/// `GET /v2/images/{id}/file`
pub async fn download(ctx: Ctx, Path(id): Path<String>, headers: HeaderMap) -> Handled {
    let image = image::visible(&ctx.state, &ctx.caller, image_id(&id)?)?;
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
pub async fn for_agent(_: Peer, State(app): State<App>, Path(id): Path<String>) -> Handled {
    let state = app.store.state();
    let id = image_id(&id)?;
    let image = state.images.get(&id).ok_or_else(|| Error::not_found("Image", id))?;
    let data = image.data().ok_or_else(|| Error::not_found("Data of image", id))?;
    stream(&app, image, data, None).await
}

async fn stream(app: &App, image: &Image, data: &Data, range: Option<&str>) -> Handled {
    let path = app.images.path(image.id);
    let mut file = tokio::fs::File::open(&path).await.map_err(|error| {
        let mut lost = Error::unavailable(
            "The image's data cannot be read. The image store's operator must look at it.",
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
        let mut buffer = vec![0; left.min(256 * 1024) as usize];
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

/// One range of bytes, both ends included; anything else is answered whole.
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
