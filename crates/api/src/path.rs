//! Path variants that clients use: with a slash or `.json` at the end, or under Nova's version before
//! microversions.

use axum::{
    extract::Request,
    http::{HeaderMap, uri::PathAndQuery},
};

/// Marks a request under Nova's version before microversions.
#[derive(Debug, Clone, Copy)]
pub struct OldCompute;

/// The project that stands in a path of Nova's, as in the catalogs of older clouds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectInPath(pub String);

/// Changes a request's path to the served path.
pub fn normalize(request: &mut Request) {
    if let Some((project, served)) = of_project(request.uri().path()) {
        request.extensions_mut().insert(ProjectInPath(project));
        set_path(request, served);
    }
    let path = request.uri().path();
    let served = of_network(path).or_else(|| of_old_compute(path)).or_else(|| of_identity(path));
    let Some(served) = served else { return };
    if path.starts_with("/compute/") {
        // The old version has no microversions, so the client's header is ignored.
        clear_version(request.headers_mut());
        request.extensions_mut().insert(OldCompute);
    }
    set_path(request, served);
}

fn set_path(request: &mut Request, served: String) {
    let text = match request.uri().query() {
        Some(query) => format!("{served}?{query}"),
        None => served,
    };
    // The rest of a path is a valid path: it still begins with a slash.
    let Ok(path_and_query) = PathAndQuery::try_from(text) else { return };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(path_and_query);
    if let Ok(uri) = parts.try_into() {
        *request.uri_mut() = uri;
    }
}

fn clear_version(headers: &mut HeaderMap) {
    headers.remove("openstack-api-version");
    headers.remove("x-openstack-nova-api-version");
}

/// A path of Nova's with the id of a project behind the version: the project, and the path without it.
fn of_project(path: &str) -> Option<(String, String)> {
    let (version, rest) = ["/compute/v2.1/", "/compute/v2/"]
        .iter()
        .find_map(|version| Some((version, path.strip_prefix(version)?)))?;
    let (project, rest) = rest.split_once('/')?;
    let is_id = project.len() >= 32 && project.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    (is_id && !rest.is_empty()).then(|| (project.to_owned(), format!("{version}{rest}")))
}

/// Neutron accepts a slash or the format's name at the end; the format is always JSON.
fn of_network(path: &str) -> Option<String> {
    let rest = path.strip_prefix("/network/v2.0/").filter(|rest| !rest.is_empty())?;
    // Tags of QoS policies have two paths; both are served.
    let is_policys = matches!(rest.split('/').collect::<Vec<_>>()[..], ["qos", "policies", _, "tags", ..]);
    let short = if is_policys { rest.strip_prefix("qos/").unwrap_or(rest) } else { rest };
    let plain = short.strip_suffix('/').unwrap_or(short);
    // A tag may end in `.json`.
    let is_tag = matches!(plain.split('/').collect::<Vec<_>>()[..], [_, _, "tags", _]);
    let plain = if is_tag { plain } else { plain.strip_suffix(".json").unwrap_or(plain) };
    (plain != rest).then(|| format!("/network/v2.0/{plain}"))
}

/// Keystone accepts a slash at the end.
fn of_identity(path: &str) -> Option<String> {
    let rest = path.strip_prefix("/identity/v3/")?.strip_suffix('/')?;
    Some(format!("/identity/v3/{rest}")).filter(|_| !rest.is_empty())
}

/// Nova's version 2 is 2.1 without microversions. Only its root differs: it describes that version.
fn of_old_compute(path: &str) -> Option<String> {
    let rest = path.strip_prefix("/compute/v2/").filter(|rest| !rest.is_empty())?;
    Some(format!("/compute/v2.1/{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn normalized(uri: &str) -> Request {
        let request = Request::builder().uri(uri).header("OpenStack-API-Version", "compute 2.90");
        let mut request = request.body(Body::empty()).unwrap();
        normalize(&mut request);
        request
    }

    #[test]
    fn other_words_for_a_path_lead_to_the_one_served() {
        for (given, served) in [
            ("/network/v2.0/networks/?name=a/", "/network/v2.0/networks?name=a/"),
            ("/network/v2.0/networks.json", "/network/v2.0/networks"),
            ("/network/v2.0/ports/1.json?fields=id", "/network/v2.0/ports/1?fields=id"),
            ("/network/v2.0/quotas/1/details.json", "/network/v2.0/quotas/1/details"),
            ("/network/v2.0/networks/1/tags/a.json", "/network/v2.0/networks/1/tags/a.json"),
            ("/network/v2.0/networks/1/tags.json", "/network/v2.0/networks/1/tags"),
            ("/network/v2.0/qos/policies/1/tags/a", "/network/v2.0/policies/1/tags/a"),
            ("/network/v2.0/qos/policies/1.json", "/network/v2.0/qos/policies/1"),
            ("/network/v2.0/", "/network/v2.0/"),
            ("/compute/v2/servers?limit=1", "/compute/v2.1/servers?limit=1"),
            ("/compute/v2/", "/compute/v2/"),
            ("/compute/v2.1/servers/", "/compute/v2.1/servers/"),
            ("/network//", "/network//"),
            ("/identity/v3/OS-TRUST/trusts/?a=b/", "/identity/v3/OS-TRUST/trusts?a=b/"),
            ("/identity/v3/", "/identity/v3/"),
        ] {
            assert_eq!(normalized(given).uri().to_string(), served, "{given}");
        }
    }

    #[test]
    fn a_project_in_the_path_is_noted_and_left_out() {
        let id = "0a0a0a0a0a0a4a0a8a0a0a0a0a0a0a0a";
        for (given, served) in [
            (format!("/compute/v2.1/{id}/servers?limit=1"), "/compute/v2.1/servers?limit=1"),
            (format!("/compute/v2/{id}/flavors/1"), "/compute/v2.1/flavors/1"),
        ] {
            let request = normalized(&given);
            assert_eq!(request.uri().to_string(), served);
            assert_eq!(request.extensions().get(), Some(&ProjectInPath(id.to_owned())));
        }
        for plain in ["/compute/v2.1/servers/detail".to_owned(), format!("/compute/v2.1/servers/{id}")] {
            let request = normalized(&plain);
            assert_eq!(request.uri().to_string(), plain);
            assert!(request.extensions().get::<ProjectInPath>().is_none());
        }
    }

    #[test]
    fn the_old_version_has_no_microversions() {
        let old = normalized("/compute/v2/servers");
        assert!(old.headers().is_empty() && old.extensions().get::<OldCompute>().is_some());
        assert!(!normalized("/compute/v2.1/servers").headers().is_empty());
    }
}
