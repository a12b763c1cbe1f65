//! The agents' side of the API: how hosts join, their sessions, and what they fetch and send.

pub mod authority;
mod console;
mod data;
pub mod enrol;
pub mod links;
mod receipt;
pub mod refusals;
mod sent_disk;
mod session;
pub mod tls;

use crate::{
    app::App,
    image,
    routes::{Routes, get, post, put},
};

/// The routes.
pub fn routes() -> Routes<App> {
    Routes::new()
        .route("/agent/v1/hello", post(session::register))
        .route("/agent/v1/hosts/{host}/orders", get(session::poll))
        .route("/agent/v1/hosts/{host}/observations", post(session::observe))
        .route("/agent/v1/hosts/{host}/answers", post(session::answer))
        .route("/agent/v1/hosts/{host}/consoles/{connection}", get(console::join))
        .route("/agent/v1/images/{image}/data", get(image::data::for_agent))
        .route("/agent/v1/servers/{server}/user-data", get(data::user_data))
        .route("/agent/v1/servers/{server}/files", get(data::files))
        .route("/agent/v1/servers/{server}/password", put(data::password))
        .route("/agent/v1/servers/{server}/disk", put(sent_disk::put))
        .merge(enrol::routes())
}
