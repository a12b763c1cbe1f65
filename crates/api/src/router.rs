//! All routes, and the work around every request: an id, a deadline, a log line, and the format of errors.

use crate::{
    agent,
    app::App,
    compute, console,
    ctx::{self, AskedPath, GlobalRequestId, RequestId},
    fault::{self, render, service_of},
    identity, image,
    limits::{FENCE_TIMEOUT, REQUEST_TIMEOUT},
    metrics, network, operator, path, placement,
    respond::json,
    routes::{Routes, get},
    serve::unread,
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use lenticular_model::error::Error;
use lenticular_store::Leadership;
use lenticular_wire::fault::Service;
use std::{sync::Arc, time::Instant};

/// All routes for clients and operators.
pub fn router(app: App) -> Router {
    let routes = Routes::new()
        .merge(identity::routes())
        .merge(compute::routes())
        .merge(image::routes())
        .merge(network::routes())
        .merge(placement::routes())
        .merge(operator::routes())
        .merge(console::routes())
        .route("/", get(versions))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics::show))
        .into_router(app.clone());
    with_middleware(app, routes)
}

/// All routes for agents.
pub fn agent_router(app: App) -> Router {
    let routes = agent::routes().into_router(app.clone());
    with_middleware(app, routes)
}

fn with_middleware(app: App, routes: Router) -> Router {
    // A layer of the routes' own router runs after the choice of the route, too late to change the path.
    Router::new().fallback_service(routes).layer(from_fn_with_state(app, middleware))
}

/// `GET /`: the URLs of the services.
async fn versions(State(app): State<App>) -> fault::Handled {
    let url = &app.config.public_url;
    let services = lenticular_model::identity::catalog::OWN_SERVICES;
    let services: Vec<_> = services
        .iter()
        .map(|(kind, name, path)| serde_json::json!({"type": kind, "name": name, "url": format!("{url}{path}")}))
        .collect();
    json(200, &serde_json::json!({ "services": services }))
}

/// `GET /healthz`: whether the store takes commits.
async fn health(State(app): State<App>) -> fault::Handled {
    let leadership = app.store.leadership().borrow().clone();
    if !matches!(leadership, Leadership::Leads(_)) {
        return Err(Error::unavailable(format!("No change can be saved: {leadership}")).into());
    }
    if let Some(why) = app.held.get() {
        return Err(Error::unavailable(why.clone()).into());
    }
    if app.store.stats().is_failing {
        let why = "The store could not make the last changes durable; its disk may be full, or its file gone: the log says which. Reads go on.";
        return Err(Error::unavailable(why).into());
    }
    let seq = app.store.state().seq;
    json(200, &serde_json::json!({"status": "ok", "seq": seq}))
}

/// The work around every request: an id, a deadline, a log line, and the format of errors.
async fn middleware(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let service = service_of(request.uri().path());
    let (method, asked) = (request.method().clone(), request.uri().path().to_owned());
    let id: Arc<str> = new_request_id().into();
    request.extensions_mut().insert(RequestId(id.clone()));
    let given = given_request_id(request.headers().get("x-openstack-request-id")).map(Arc::from);
    if let Some(given) = given {
        request.extensions_mut().insert(GlobalRequestId(given));
    }
    request.extensions_mut().insert(service);
    request.extensions_mut().insert(AskedPath(asked.as_str().into()));
    path::normalize(&mut request);
    let version = ctx::version(service, request.headers());
    let (unread, request) = unread::watch(request);
    let response = match tokio::time::timeout(deadline(&asked), next.run(request)).await {
        Ok(response) => response,
        Err(_) => fault::Fault(Error::unavailable(
            "The request took too long and was given up. It may still have been carried out: look before you repeat it.",
        ))
        .into_response(),
    };
    let internal = response.extensions().get::<Error>().and_then(|e| e.internal.clone());
    let mut response = render(service, response, &id, &app.config.public_url);
    set_headers(service, version.ok(), &mut response, &id);
    unread.finish(&mut response).await;
    let (status, took) = (response.status().as_u16(), began.elapsed());
    app.metrics.answered(&asked, &method, status, took);
    let asked = without_secret(&asked);
    match internal {
        Some(internal) => {
            tracing::error!(request_id = %id, %method, path = asked, status, internal, "the request failed");
        }
        None if asked.starts_with("/agent/") => {
            tracing::trace!(request_id = %id, %method, path = asked, status, ms = took.as_millis() as u64, "answered");
        }
        None => {
            tracing::debug!(request_id = %id, %method, path = asked, status, ms = took.as_millis() as u64, "answered")
        }
    }
    response
}

/// A path for the log. The last part of some paths opens a console.
fn without_secret(path: &str) -> &str {
    let secret = ["/os-console-auth-tokens/", "/consoles/"];
    secret.iter().find_map(|before| Some(&path[..path.find(before)? + before.len()])).unwrap_or(path)
}

/// Transfers of images may take as long as bytes flow; polls wait by design.
fn deadline(path: &str) -> std::time::Duration {
    let streams = (path.starts_with("/image/") && path.ends_with("/file"))
        || (path.starts_with("/agent/") && (path.ends_with("/data") || path.ends_with("/disk")));
    // A fencing driver has its own deadline.
    let fences = path.starts_with("/operator/") && path.ends_with("/fence");
    if streams {
        std::time::Duration::from_secs(24 * 3_600)
    } else if fences {
        FENCE_TIMEOUT
    } else {
        REQUEST_TIMEOUT
    }
}

fn new_request_id() -> String {
    let mut bytes = [0; 16];
    // Without randomness the id is less unique, which does no harm to the request.
    let _ = getrandom::fill(&mut bytes);
    format!("req-{}", uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// The client's request id, if it has the form of a request id.
fn given_request_id(given: Option<&HeaderValue>) -> Option<&str> {
    given.and_then(|v| v.to_str().ok()).filter(|id| {
        let rest = id.strip_prefix("req-").unwrap_or("");
        rest.len() == 36 && rest.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
    })
}

fn set_headers(
    service: Service,
    version: Option<lenticular_wire::microversion::Microversion>,
    response: &mut Response<Body>,
    id: &str,
) {
    let headers = response.headers_mut();
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("x-openstack-request-id", id);
    match service {
        Service::Compute => put("x-compute-request-id", id),
        Service::Identity => put("vary", "X-Auth-Token"),
        _ => {}
    }
    let Some(range) = ctx::range_of(service) else { return };
    let text = match version {
        Some(version) => format!("{}.{version}", range.major),
        None => format!("{}.{}", range.major, range.min),
    };
    put("openstack-api-version", &format!("{} {text}", range.service));
    match range.legacy_header {
        Some(legacy) => {
            put("x-openstack-nova-api-version", &text);
            put("vary", "OpenStack-API-Version, X-OpenStack-Nova-API-Version");
            debug_assert_eq!(legacy, "x-openstack-nova-api-version");
        }
        None => put("vary", "openstack-api-version"),
    }
}
