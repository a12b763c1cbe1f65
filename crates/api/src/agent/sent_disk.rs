//! A disk on its way from a host to the image store: of a server that is being shelved, or a snapshot.

use crate::{
    agent::enrol::Peer, app::App, fault::Handled, image::data::upload_id, query::Query, respond::empty,
};
use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
};
use bytes::Bytes;
use futures_util::Stream;
use lenticular_control::lifecycle::upload;
use lenticular_model::{
    Cause, HostId, ServerId,
    error::{Error, Result},
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
    let host = app.store.state().host_named(&peer.name).map(|host| host.id);
    let host = host.ok_or_else(|| Error::not_found("Host", &peer.name))?;
    app.agent_saves_disk(host, server, upload.to_owned(), body.into_data_stream()).await?;
    empty(204)
}

impl App {
    /// Takes in a disk that becomes an image. When the call returns, the image is active; a server that was being shelved
    /// has left its host.
    ///
    /// # Errors
    /// Nothing waits for the disk (any more), the stream broke, or the stream is not a whole qcow2 disk.
    pub async fn agent_saves_disk<S, E>(
        &self,
        host: HostId,
        server: ServerId,
        name: String,
        bytes: S,
    ) -> Result<()>
    where
        S: Stream<Item = std::result::Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        let cause =
            Cause { actor: format!("host/{host}"), request_id: String::new(), why: "sent disk".to_owned() };
        let sending = upload_id()?;
        let image = {
            let (name, sending) = (name.clone(), sending.clone());
            let begin =
                move |txn: &mut lenticular_model::Txn<'_>| upload::begin(txn, server, host, &name, &sending);
            self.store.transact(cause.clone(), begin).await?
        };
        let data = self.images.receive(&sending, "qcow2", None, bytes).await?;
        let (sent, quota) = (sending.clone(), self.config.settings.images.quota());
        // If a disk is sent twice, the later one counts.
        let saved = self
            .store
            .transact(cause, move |txn| upload::finish(txn, server, host, (&name, &sent), data, &quota))
            .await;
        // After a commit of unknown outcome, the image may have the bytes. The next leadership tells.
        if saved.is_err() && self.store.leads().await {
            let named = self.store.state().images.get(&image).and_then(|image| image.file());
            if named.as_ref() != Some(&sending) {
                self.images.discard(&sending);
            }
        }
        saved
    }
}
