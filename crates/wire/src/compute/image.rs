//! An image under Nova's old paths (`/images`, until 2.35).

use lenticular_model::{ServerId, image::Image};
use serde_json::{Value, json};

/// Nova's word for an image's status.
pub fn status(image: &Image) -> &'static str {
    match image.status() {
        "active" => "ACTIVE",
        "queued" | "saving" => "SAVING",
        _ => "UNKNOWN",
    }
}

fn links(image: &Image, url: &str) -> Value {
    let id = image.id;
    json!([
        {"rel": "self", "href": format!("{url}/compute/v2.1/images/{id}")},
        {"rel": "bookmark", "href": format!("{url}/compute/images/{id}")},
        {"rel": "alternate", "href": format!("{url}/image/images/{id}"), "type": "application/vnd.openstack.image"},
    ])
}

/// An image in the short listing.
pub fn brief(image: &Image, url: &str) -> Value {
    json!({"id": image.id, "name": image.name, "links": links(image, url)})
}

/// The server whose disk the image was made from.
pub fn server_of(image: &Image) -> Option<ServerId> {
    image.properties.get("instance_uuid")?.parse().ok()
}

/// An image with all details.
pub fn full(image: &Image, url: &str) -> Value {
    let status = status(image);
    let mut view = json!({
        "id": image.id,
        "name": image.name,
        "minRam": image.min_ram,
        "minDisk": image.min_disk,
        "metadata": image.properties,
        "created": image.created_at.iso(),
        "updated": image.updated_at.unwrap_or(image.created_at).iso(),
        "status": status,
        "progress": match image.status() {
            "active" => 100,
            "saving" => 50,
            "queued" => 25,
            _ => 0,
        },
        "OS-EXT-IMG-SIZE:size": image.data().map_or(0, |data| data.size),
        "links": links(image, url),
    });
    match image.properties.get("auto_disk_config").map(|text| text.to_ascii_lowercase()).as_deref() {
        Some("true") => view["OS-DCF:diskConfig"] = json!("AUTO"),
        Some("false") => view["OS-DCF:diskConfig"] = json!("MANUAL"),
        _ => {}
    }
    if let Some(server) = server_of(image) {
        view["server"] = json!({"id": server, "links": [
            {"rel": "self", "href": format!("{url}/compute/v2.1/servers/{server}")},
            {"rel": "bookmark", "href": format!("{url}/compute/servers/{server}")},
        ]});
    }
    view
}
