//! The disk of a server that is being shelved, on its way from the host to the image store.

use crate::{
    app::{empty, App},
    enrol::Peer,
    fault::Handled,
    image::data::upload_id,
    query::Query,
};
use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
};
use bytes::Bytes;
use futures_util::Stream;
use lenticular_control::command::shelve;
use lenticular_model::{
    error::{Error, Result},
    image::{Data, Phase},
    Cause, HostId, ImageId, ServerId,
};

/// `PUT /agent/v1/servers/{id}/disk?upload=U`
pub async fn put(
    peer: Peer,
    State(app): State<App>,
    Path(server): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Handled {
    let server: ServerId = server.parse().map_err(|_| Error::not_found("Server", &server))?;
    let query = Query::parse(query.as_deref());
    let upload = query.get("upload").ok_or_else(|| Error::invalid("a disk needs the name of its upload"))?;
    let host = app.store.state().index.host_names.get(&peer.name).copied();
    let host = host.ok_or_else(|| Error::not_found("Host", &peer.name))?;
    app.agent_saves_disk(host, server, upload.to_owned(), body.into_data_stream()).await?;
    empty(204)
}

impl App {
    /// Takes in the disk of a server that is being shelved. When it returns, the disk is an image and the server has left
    /// its host.
    ///
    /// # Errors
    /// Nobody waits for it (any more), the stream broke, or it is no whole qcow2 disk.
    pub async fn agent_saves_disk<S, E>(
        &self,
        host: HostId,
        server: ServerId,
        upload: String,
        bytes: S,
    ) -> Result<()>
    where
        S: Stream<Item = std::result::Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        let cause = Cause {
            actor: format!("host/{host}"),
            request_id: String::new(),
            why: "shelved disk".to_owned(),
        };
        let sending = upload_id()?;
        let image = {
            let (upload, sending) = (upload.clone(), sending.clone());
            let begin = move |txn: &mut lenticular_model::Txn<'_>| {
                shelve::begin_saving(txn, server, host, &upload, &sending)
            };
            self.store.transact(cause.clone(), begin).await?
        };
        let arrived = self.images.receive(&sending, "qcow2", bytes).await?;
        // Of two sendings the later one counts, and nothing of the earlier may take its place.
        let _turn = self.placing.lock().await;
        if !self.awaits(image, &sending) {
            self.images.discard(&sending);
            return Err(Error::conflict("The disk was sent again meanwhile, or is not wanted any more."));
        }
        self.images.place(&sending, image)?;
        let data: Data = arrived.data;
        let saved = self
            .store
            .transact(cause, move |txn| shelve::saved(txn, server, host, (&upload, &sending), data))
            .await;
        if saved.is_err() && self.store.state().images.get(&image).is_none_or(|i| i.data().is_none()) {
            self.images.remove(image);
        }
        saved
    }

    fn awaits(&self, image: ImageId, sending: &str) -> bool {
        let state = self.store.state();
        let image = state.images.get(&image);
        image.is_some_and(|i| matches!(&i.phase, Phase::Saving { upload } if upload == sending))
    }
}
